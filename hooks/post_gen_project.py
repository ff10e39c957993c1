"""Remove what was not chosen, then say what to do next.

Cookiecutter renders this file with the answers and runs it in the finished project. It creates
nothing, so that two bakes with the same answers are identical and template updates stay small.
"""

import json
import re
import shlex
import shutil
from pathlib import Path

# See pre_gen_project.py: JSON in pure ASCII, safe in a raw string.
ANSWERS = dict(json.loads(r"""{{ cookiecutter.items() | list | tojson }}"""))

# question: {answer: files that belong to this answer alone}. The files of all other answers go.
# Only the name of a file counts, not the folders above it.
FILES_BY_ANSWER = {
    "engine": {"redis": ["*redis*"], "memcached": ["*memcached*"]},
    "license": {"MIT": ["LICENSE"], "BSD-3-Clause": ["LICENSE"], "Apache-2.0": ["LICENSE"]},
}

# A line of code that belongs to one answer alone ends with a marker: `# engine: redis`. In other
# files a line may be what somebody answered, and end in any way.
MARKED_SUFFIXES = {".py", ".toml"}
MARKER = re.compile(rb"[ \t]*# engine: (\w+)[ \t]*(?=\r?\n|\Z)")

# Left in the template by tools that read its Python in place: copied as they are, and removed here.
CACHES = ("__pycache__", ".*_cache")

ENGINES = {"redis": "Redis", "memcached": "Memcached"}
START_SERVER = {"redis": "redis-server", "memcached": "memcached"}


def main() -> None:
    for cache in [path for pattern in CACHES for path in Path().rglob(pattern)]:
        shutil.rmtree(cache)
    files = [path for path in sorted(Path().rglob("*")) if path.is_file()]
    for question, files_by_answer in FILES_BY_ANSWER.items():
        kept = files_by_answer.get(ANSWERS[question], [])
        others = {pattern for patterns in files_by_answer.values() for pattern in patterns}
        for path in files:
            if any(path.match(pattern) for pattern in others.difference(kept)):
                path.unlink()
    for path in files:
        if path.suffix in MARKED_SUFFIXES and path.exists():
            _keep_marked_lines(path, ANSWERS["engine"].encode())
    _print_next_steps()


def _keep_marked_lines(path: Path, engine: bytes) -> None:
    """Drop the lines marked for another engine, and the marker from the lines that stay."""
    before = path.read_bytes()
    lines = []
    for line in before.splitlines(keepends=True):
        marker = MARKER.search(line)
        if marker is None:
            lines.append(line)
        elif marker[1] == engine:
            lines.append(MARKER.sub(b"", line))
    after = b"".join(lines)
    if after != before:
        path.write_bytes(after)


def _print_next_steps() -> None:
    slug, engine = ANSWERS["project_slug"], ANSWERS["engine"]
    license_name = "no license" if ANSWERS["license"] == "none" else f"license {ANSWERS['license']}"
    print(
        f"\nCreated {slug}: Tornado with sessions on {ENGINES[engine]}, {license_name}.\n"
        "\nNext steps:\n"
        f"    cd {slug}\n"
        f"    make run      # http://localhost:8888, with {START_SERVER[engine]} running;\n"
        "                  # without a server: make run ENGINE=memory\n"
        "    make test\n"
        "\nThe same choices again:\n"
        f"    {_repeat_command()}\n"
    )


def _repeat_command() -> str:
    words = ["cookiecutter", ANSWERS["_template"], "--no-input"]
    if ANSWERS.get("_checkout"):
        words += ["--checkout", ANSWERS["_checkout"]]
    for question, answer in ANSWERS.items():
        if not question.startswith("_"):
            words.append(f"{question}={_literally(answer)}")
    return shlex.join(words)


def _literally(answer: str) -> str:
    """Cookiecutter renders what stands on its command line; make it render to `answer`."""
    # That is an expression of Jinja for each brace, spelled so that this file holds none.
    return answer.replace("{", "{0}{0} '{0}' {1}{1}".format("{", "}"))


if __name__ == "__main__":
    main()
