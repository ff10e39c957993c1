"""`make mutants`: put faults into sessions/ of a bake, one at a time, and see which the suite notices.

cosmic-ray finds the places, makes the faults and runs the suite; pytest-timeout ends a test that a
fault keeps from ending. What is added here: a random sample of the places, one fault each; workers
with a bake of their own; and the report, which ends with the rate.
"""

from __future__ import annotations

import argparse
import ast
import os
import random
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path

import cosmic_ray.plugins  # type: ignore[import-untyped]
from cookiecutter.main import cookiecutter  # type: ignore[import-untyped]  # it has no types
from cosmic_ray.mutating import mutate_code  # type: ignore[import-untyped]
from cosmic_ray.work_db import WorkDB, use_db  # type: ignore[import-untyped]
from cosmic_ray.work_item import (  # type: ignore[import-untyped]
    MutationSpec,
    TestOutcome,
    WorkerOutcome,
    WorkResult,
)

TEMPLATE = Path(__file__).parent.parent
SLUG = "mutated"
SESSIONS = f"{SLUG}/sessions"
# The tests of sessions/ first: they notice most faults, and the first that fails ends the run.
TESTS = (f"tests/{SLUG}_tests/sessions", "tests")
# The slowest test takes half a second. pytest-timeout ends one that does not end, and lets pytest
# stop the servers of the suite.
TEST_TIMEOUT_S = 20
SUITE = [
    *(sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider"),
    *("-o", f"timeout={TEST_TIMEOUT_S}"),
]
SLOWER = 4
"""cosmic-ray kills a suite that takes so many times as long as without a fault. Either way the fault
counts as noticed."""
GOAL = 0.95
PROGRESS_S = 30

CONFIG = f"""\
[cosmic-ray]
module-path = ["{SESSIONS}"]
timeout = {{timeout_s}}
excluded-modules = []
test-command = {{command!r}}

[cosmic-ray.distributor]
name = "local"

[cosmic-ray.filters.operators-filter]
exclude-operators = [
    # Most decorators here declare what never runs: abstract methods. mypy looks after those.
    "core/RemoveDecorator$",
    # In sessions/ a | is a type's, and a * that becomes a / belongs to a signature.
    "core/ReplaceBinaryOperator_BitOr_",
    "core/ReplaceBinaryOperator_Mul_Div",
    # The same for the values that are compared here: None, booleans and short strings.
    "core/ReplaceComparisonOperator_(Eq_Is|Is_Eq|NotEq_IsNot|IsNot_NotEq)$",
]
"""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sample", type=int, default=200, help="how many faults")
    parser.add_argument("--seed", type=int, default=1, help="chooses them; the same seed, the same")
    parser.add_argument("--engine", choices=["redis", "memcached"], default="redis")
    parser.add_argument("--workers", type=int, default=2, help="faults at the same time")
    parser.add_argument("--tests", nargs="+", default=TESTS, help="what has to notice them")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        results = _measure(Path(folder), options)
    return _report(results)


def _measure(folder: Path, options: argparse.Namespace) -> list[WorkResult]:
    answers = {"project_slug": SLUG, "engine": options.engine}
    first = Path(
        cookiecutter(str(TEMPLATE), no_input=True, extra_context=answers, output_dir=str(folder))
    )
    copies = [folder / f"copy-{i}" for i in range(1, options.workers)]
    projects = [first, *(shutil.copytree(first, copy) for copy in copies)]
    suite = [*SUITE, *options.tests]
    # All at once, as later on: what takes longer then takes longer here.
    begin = time.monotonic()
    runs = [_start(suite, project, output="suite.log") for project in projects]
    statuses = [run.wait() for run in runs]
    if any(statuses):
        logs = [(project / "suite.log").read_text() for project in projects]
        sys.exit("\n".join([*logs, "The suite fails without a fault: mend that first."]))
    timeout_s = SLOWER * (time.monotonic() - begin)

    for project in projects:
        config = CONFIG.format(timeout_s=timeout_s, command=shlex.join(suite))
        (project / "mutants.toml").write_text(config)
    _run("cosmic_ray.cli", "init", "mutants.toml", "mutants.sqlite", cwd=first)
    _run("cosmic_ray.tools.filters.operators_filter", "mutants.sqlite", "mutants.toml", cwd=first)
    for copy in copies:
        shutil.copy(first / "mutants.sqlite", copy)
    with use_db(first / "mutants.sqlite") as database:
        sample = sample_of(database, first, options.sample, options.seed)
    for i, project in enumerate(projects):
        with use_db(project / "mutants.sqlite") as database:
            _skip_all_but(set(sample[i :: len(projects)]), database)

    command = [sys.executable, "-m", "cosmic_ray.cli", "exec", "mutants.toml", "mutants.sqlite"]
    runs = [_start(command, project, output="exec.log") for project in projects]
    print(f"{len(sample)} faults, seed {options.seed}, at most {timeout_s:.0f} s each", flush=True)
    try:
        for run in runs:
            while _goes_on(run):
                print(f"{len(_results(projects))} of {len(sample)} tried", flush=True)
    finally:  # when interrupted; a suite under way then ends by itself
        for run in runs:
            run.terminate()
            run.wait()
    if any(run.returncode for run in runs):
        sys.exit("\n".join((project / "exec.log").read_text() for project in projects))
    results = _results(projects)
    if len(results) != len(sample):
        sys.exit(f"Tested only {len(results)} of {len(sample)} mutants: cannot compute the rate.")
    return results


def _run(module: str, *arguments: str, cwd: Path) -> None:
    subprocess.run([sys.executable, "-m", module, *arguments], cwd=cwd, check=True)


def _start(command: list[str], project: Path, *, output: str) -> subprocess.Popen[bytes]:
    # A stale .pyc would hide a fault, or keep it after it was taken back.
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
    with (project / output).open("wb") as file:
        return subprocess.Popen(
            command, cwd=project, env=environment, stdout=file, stderr=subprocess.STDOUT
        )


def _goes_on(run: subprocess.Popen[bytes]) -> bool:
    """Return whether a run has not ended when it is time to say how far it came."""
    try:
        run.wait(PROGRESS_S)
    except subprocess.TimeoutExpired:
        return True
    return False


def sample_of(database: WorkDB, project: Path, size: int, seed: int) -> list[str]:
    """Choose places at random and one fault for each, and return the ids of their jobs.

    Without the places, eleven of twelve faults would be another operator for the same +.
    """
    jobs = {item.job_id: item.mutations[0] for item in database.pending_work_items}
    faults_by_place = defaultdict(list)
    for job, fault in sorted(jobs.items(), key=lambda job: str(job[1])):
        kind = fault.operator_name.partition("_")[0]
        faults_by_place[fault.module_path, fault.start_pos, kind].append(job)
    choice = random.Random(seed)
    sample: list[str] = []
    for jobs_here in choice.sample(list(faults_by_place.values()), len(faults_by_place)):
        job = choice.choice(jobs_here)
        if len(sample) < size and _is_python(jobs[job], project):
            sample.append(job)
    return sample


def _is_python(fault: MutationSpec, project: Path) -> bool:
    """Tell whether the module compiles with this fault; any test would notice one that does not.
    cosmic-ray fails to make some: of exceptions in a tuple, with a dot in a name.
    """
    operator = cosmic_ray.plugins.get_operator(fault.operator_name)()
    source = (project / fault.module_path).read_text()
    try:
        ast.parse(mutate_code(source, operator, fault.occurrence))
    except (SyntaxError, AttributeError):
        return False
    return True


def _skip_all_but(sample: set[str], database: WorkDB) -> None:
    others = [item.job_id for item in database.pending_work_items if item.job_id not in sample]
    database.set_multiple_results(others, WorkResult(worker_outcome=WorkerOutcome.SKIPPED))


def _results(projects: list[Path]) -> list[WorkResult]:
    """Return the results of the mutants tested so far."""
    results = []
    for project in projects:
        with use_db(project / "mutants.sqlite") as database:
            results += [result for _, result in database.results]
    return [result for result in results if result.worker_outcome is not WorkerOutcome.SKIPPED]


def _report(results: list[WorkResult]) -> int:
    """Print each fault that was not noticed, then the rate. Return 0 if it reaches the goal."""
    broken = [result for result in results if result.worker_outcome is not WorkerOutcome.NORMAL]
    if broken or not results:
        sys.exit(f"cosmic-ray could not try {len(broken)} faults:\n{broken[:1]}")
    survivors = [result for result in results if result.test_outcome is TestOutcome.SURVIVED]
    for survivor in survivors:
        print(survivor.diff, end="\n\n")
    noticed = len(results) - len(survivors)
    rate = noticed / len(results)
    print(
        f"The suite notices {noticed} of {len(results)} faults: {rate:.1%}. The goal is {GOAL:.0%}."
    )
    return 0 if rate >= GOAL else 1


if __name__ == "__main__":
    sys.exit(main())
