"""Put faults into sessions/ of a generated project, one at a time, and see whether its suite notices.

`make mutants SAMPLE=200 ENGINE=redis` calls this. cosmic-ray finds the places and makes the
faults; here a random sample is drawn from them, and what survives is printed as a diff.
"""

from __future__ import annotations

import argparse
import random
import subprocess
import sys
import tempfile
from pathlib import Path

from cookiecutter.main import cookiecutter
from cosmic_ray.work_db import WorkDB, use_db
from cosmic_ray.work_item import TestOutcome, WorkerOutcome, WorkResult

TEMPLATE = Path(__file__).parents[1]
SLUG = "mutated"
TIMEOUT_S = 60
"""A fault can make a loop endless: a suite that takes this long has noticed it."""

CONFIG = """\
[cosmic-ray]
module-path = ["{slug}/sessions"]
timeout = {timeout_s}
excluded-modules = ["{slug}/sessions/__init__.py"]
test-command = "{python} -m pytest -x -q -n 2 -p no:cacheprovider tests/{slug}_tests/sessions"

[cosmic-ray.distributor]
name = "local"
"""


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--sample", type=int, default=200, help="how many faults")
    options.add_argument("--seed", type=int, default=1, help="of the random choice")
    options.add_argument("--engine", default="redis", choices=["redis", "memcached"])
    asked = options.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        project = _bake(Path(folder), asked.engine)
        config, session = project / "mutants.toml", project / "mutants.sqlite"
        config.write_text(CONFIG.format(slug=SLUG, timeout_s=TIMEOUT_S, python=sys.executable))
        _cosmic_ray(project, "init", config, session)
        _cosmic_ray(project, "baseline", config)
        with use_db(session) as database:
            _keep_sample(database, asked.sample, asked.seed)
        _cosmic_ray(project, "exec", config, session)
        with use_db(session) as database:
            return _report(database, project)


def _bake(folder: Path, engine: str) -> Path:
    answers = {"project_slug": SLUG, "engine": engine}
    return Path(
        cookiecutter(str(TEMPLATE), no_input=True, extra_context=answers, output_dir=str(folder))
    )


def _cosmic_ray(project: Path, *words: str | Path) -> None:
    command = [sys.executable, "-m", "cosmic_ray.cli", *map(str, words)]
    subprocess.run(command, cwd=project, check=True)


def _keep_sample(database: WorkDB, size: int, seed: int) -> None:
    """Mark all places but a random sample as skipped, which is how cosmic-ray's filters do it."""
    places = sorted(database.pending_work_items, key=lambda item: str(item.mutations))
    kept = {item.job_id for item in random.Random(seed).sample(places, min(size, len(places)))}
    skipped = WorkResult(worker_outcome=WorkerOutcome.SKIPPED, output="not in the sample")
    for item in places:
        if item.job_id not in kept:
            database.set_result(item.job_id, skipped)


def _report(database: WorkDB, project: Path) -> int:
    """Print what survived, and how many were noticed. Return the exit status: 0 from 95 %."""
    results = [
        (job_id, result)
        for job_id, result in database.results
        if result.worker_outcome is WorkerOutcome.NORMAL
    ]
    survivors = [result for _, result in results if result.test_outcome is TestOutcome.SURVIVED]
    for result in survivors:
        print(str(result.diff).replace(f"{project}/", ""), end="\n\n")
    noticed = len(results) - len(survivors)
    print(f"{noticed} of {len(results)} faults noticed ({100 * noticed / len(results):.0f} %)")
    return 0 if noticed >= 0.95 * len(results) else 1


if __name__ == "__main__":
    sys.exit(main())
