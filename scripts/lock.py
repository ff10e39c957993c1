"""`make lock`: write the template's constraints.txt from a `make lock` in a project of each engine.

What only one engine needs stands between marks of Jinja, as elsewhere in the template's text files.
With UPGRADE=1 all packages move to their newest releases; else only what has to.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from cookiecutter.main import cookiecutter  # type: ignore[import-untyped]  # it has no types

TEMPLATE = Path(__file__).parent.parent
CONSTRAINTS = TEMPLATE / "{{cookiecutter.project_slug}}" / "constraints.txt"
ENGINES = ("redis", "memcached")


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        locks = [_lock(engine, Path(folder) / engine) for engine in ENGINES]
    CONSTRAINTS.write_text(merge(*locks))


def merge(redis: list[str], memcached: list[str]) -> str:
    """One text, which renders to the lines of the engine that was chosen."""
    head = [line for line in redis if line.startswith("#")]
    lines = []
    for line in sorted(
        {*redis, *memcached}.difference(head), key=lambda line: line.partition("==")
    ):
        if line in redis and line in memcached:
            lines.append(line)
        else:
            engine = "redis" if line in redis else "memcached"
            lines.append(f'{{%- if cookiecutter.engine == "{engine}" %}}\n{line}\n{{%- endif %}}')
    return "\n".join([*head, *lines, ""])


def _lock(engine: str, folder: Path) -> list[str]:
    project = cookiecutter(
        str(TEMPLATE), no_input=True, extra_context={"engine": engine}, output_dir=str(folder)
    )
    upgrade = os.environ.get("UPGRADE", "")
    subprocess.run(
        ["make", "lock", f"PYTHON={sys.executable}", f"UPGRADE={upgrade}"], cwd=project, check=True
    )
    return (Path(project) / "constraints.txt").read_text().splitlines()


if __name__ == "__main__":
    main()
