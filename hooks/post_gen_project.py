"""Remove what was not chosen, then say what to do next.

Cookiecutter renders this file with the answers and runs it in the finished project, which may have
been there for years (`cookiecutter --overwrite-if-exists`): it touches the files that
files_by_answer.json lists, and looks at no other. It creates nothing, so that two bakes with the
same answers are identical and template updates stay small.
"""

import json
import re
import shlex
import sys
import tempfile
from contextlib import suppress
from pathlib import Path

# JSON in pure ASCII: no value can end the raw strings, whatever quotes or backslashes it has.
ANSWERS = dict(json.loads(r"""{{ cookiecutter.items() | list | tojson }}"""))
TABLE = json.loads(r"""{{ cookiecutter | files_by_answer | tojson }}""")

# A line that belongs to one answer alone ends with a mark, `# engine: redis`. A line marked
# `# without hooks` always goes. Each file with marks has one, which shows that cookiecutter has
# just written the file: one that was there before (--skip-if-file-exists) is the owner's.
MARK = re.compile(rb"[ \t]*# (%s): (\w+)[ \t]*(?=\r?\n|\Z)" % "|".join(TABLE["files"]).encode())
WITHOUT_HOOKS = re.compile(rb"# without hooks[ \t]*(?=\r?\n|\Z)")

ENGINES = {"redis": "Redis", "memcached": "Memcached"}
START_SERVER = {"redis": "redis-server", "memcached": "memcached"}


def main() -> None:
    for question, paths_by_answer in TABLE["files"].items():
        kept = paths_by_answer.get(ANSWERS[question], [])
        for path in {path for paths in paths_by_answer.values() for path in paths}.difference(kept):
            _remove(Path(path))
    for path in TABLE["files_with_marked_lines"]:
        if Path(path).is_file():
            _keep_marked_lines(Path(path))
    _remove_caches()
    if not _is_comparison():
        _say(_next_steps())


def _remove(path: Path) -> None:
    """Remove a file that cookiecutter has just written, and the folders that it made for it."""
    path.unlink(missing_ok=True)
    with suppress(OSError):  # not empty
        for folder in list(path.parents)[:-1]:
            folder.rmdir()


def _keep_marked_lines(path: Path) -> None:
    """Drop the lines marked for another answer, and the marks from the lines that stay."""
    lines = path.read_bytes().splitlines(keepends=True)
    if any(WITHOUT_HOOKS.search(line) for line in lines):
        finished = b"".join(map(_finished, lines))
        path.write_bytes(re.sub(rb"(\r?\n)+\Z", rb"\1", finished))  # the last lines may have gone


def _finished(line: bytes) -> bytes:
    mark = MARK.search(line)
    if WITHOUT_HOOKS.search(line) or (mark and mark[2].decode() != ANSWERS[mark[1].decode()]):
        return b""
    return MARK.sub(b"", line)


def _remove_caches() -> None:
    """Remove copies of the caches that tools have left in the template, and no other cache."""
    for path in map(Path, TABLE["caches"]):
        if path.is_dir() and not path.is_symlink():
            with suppress(OSError):  # not empty: the project has a cache of its own there
                path.rmdir()
        else:
            path.unlink(missing_ok=True)


def _is_comparison() -> bool:
    """Whether cruft generates the project to compare it, in a temporary folder that goes at once:
    nothing was created for whoever typed `cruft update`.
    """
    folder, temporary = Path.cwd().resolve().parent, Path(tempfile.gettempdir()).resolve()
    is_temporary = folder.parent == temporary and folder.name.startswith(tempfile.gettempprefix())
    return "_commit" in ANSWERS and is_temporary


def _say(text: str) -> None:
    """Print to standard error: standard output may become a patch, `cruft diff > patch`.

    Never fail: cookiecutter deletes the project when a hook does. A closed pipe or a full disk
    costs words, not work, and standard error writes what a terminal lacks as an escape.
    """
    if sys.stderr is None:  # closed: print would take standard output
        return
    with suppress(OSError):
        print(text, file=sys.stderr, flush=True)


def _next_steps() -> str:
    slug, engine = ANSWERS["project_slug"], ANSWERS["engine"]
    license_name = "no license" if ANSWERS["license"] == "none" else f"license {ANSWERS['license']}"
    return (
        f"\nCreated {slug}: Tornado with sessions on {ENGINES[engine]}, {license_name}.\n"
        "\nNext steps:\n"
        f"    cd {slug}\n"
        f"    make run      # http://localhost:8888, with {START_SERVER[engine]} running;\n"
        "                  # without a server: make run ENGINE=memory\n"
        "    make test\n"
        "\nThe same choices again:\n"
        f"    {_repeat_command()}"
    )


def _repeat_command() -> str:
    words = ["cookiecutter", ANSWERS["_template"], "--no-input"]
    if ANSWERS.get("_checkout"):
        words += ["--checkout", ANSWERS["_checkout"]]
    words += [f"{name}={answer}" for name, answer in ANSWERS.items() if not name.startswith("_")]
    return shlex.join(words)


if __name__ == "__main__":
    main()
