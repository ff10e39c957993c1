"""What the hook prints at the end, where, and what happens when nobody can read it."""

from __future__ import annotations

import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

from ..conftest import Bake, clean_environment, run, tool, tree
from .test_updates import commit_all


def test_the_choices_and_the_next_steps_are_named(template: Path, tmp_path: Path) -> None:
    done = run(tool("cookiecutter"), template, "--no-input", "engine=memcached", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout == ""
    assert "Created my_tornado_app: Tornado with sessions on Memcached, license MIT." in done.stderr
    for step in ("cd my_tornado_app", "make run", "make run ENGINE=memory", "make test"):
        assert step in done.stderr


@pytest.mark.parametrize(
    "answers",
    [
        {"engine": "memcached", "license": "none"},
        {
            "project_name": "It's { { cookiecutter } } { % raw %} {",
            "project_slug": "plain",
            "description": 'a "b" \\ $HOME `c` é = {}',
        },
    ],
    ids=["choices", "awkward"],
)
def test_the_command_that_is_printed_repeats_the_choices(
    bake: Bake, tmp_path: Path, capfd: pytest.CaptureFixture[str], answers: dict[str, str]
) -> None:
    first = bake("first", **answers)
    printed = capfd.readouterr().err
    command = next(line for line in printed.splitlines() if "--no-input" in line).strip()
    again = tmp_path / "again"
    again.mkdir()
    assert shlex.split(command)[0] == "cookiecutter"
    command = command.replace("cookiecutter", shlex.quote(str(tool("cookiecutter"))), 1)
    subprocess.run(["sh", "-c", command], cwd=again, check=True, capture_output=True)
    assert tree(again / first.name) == tree(first)


def test_nothing_is_printed_to_standard_output_when_standard_error_is_closed(
    template: Path, tmp_path: Path
) -> None:
    command = shlex.join(map(str, (tool("cookiecutter"), template, "--no-input")))
    done = run("sh", "-c", f"{command} 2>&-", cwd=tmp_path)
    assert done.returncode == 0
    assert done.stdout == ""


@pytest.mark.parametrize(
    "redirection",
    [
        ">&-",
        "2>&-",
        ">&- 2>&-",
        "<&- >&- 2>&-",
        "> /dev/full",
        "2> /dev/full",
        "> /dev/full 2>&1",
        "2>&1 | true",
        "2>&1 >/dev/null | head -n 1",
        "| head -n 1",
    ],
)
def test_a_project_stands_when_nothing_can_be_printed(
    bake: Bake, template: Path, tmp_path: Path, redirection: str
) -> None:
    status = tmp_path / "status"
    cookiecutter = shlex.join(map(str, (tool("cookiecutter"), template, "--no-input")))
    script = f"{{ {cookiecutter}; echo $? > {shlex.quote(str(status))}; }} {redirection}"
    # The project may be there a moment before `head` is: wait for the whole pipeline.
    subprocess.run(
        ["sh", "-c", script], cwd=tmp_path, env=clean_environment(), check=False, timeout=60
    )
    assert status.read_text() == "0\n"
    assert tree(tmp_path / "my_tornado_app") == tree(bake())


@pytest.mark.parametrize(
    "environment",
    [
        {"PYTHONIOENCODING": "ascii"},
        {"PYTHONIOENCODING": "ascii:strict"},
        {"PYTHONIOENCODING": "cp437"},
        {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
        {"LC_ALL": "POSIX", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
    ],
    ids=str,
)
def test_a_terminal_without_utf_8_gets_the_words_it_can_show(
    template: Path, tmp_path: Path, environment: dict[str, str]
) -> None:
    copy = tmp_path / "Vorlage-ü"
    shutil.copytree(template, copy)
    config = tmp_path / "config.yaml"
    config.write_text("default_context:\n    author: 山田太郎\n", encoding="utf-8")
    done = subprocess.run(
        [tool("cookiecutter"), copy, "--no-input", "--config-file", config],
        cwd=tmp_path,
        env=clean_environment() | environment,
        capture_output=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert b"make run" in done.stderr
    license_text = (tmp_path / "my_tornado_app/LICENSE").read_text(encoding="utf-8")
    assert "山田太郎" in license_text


def test_what_cruft_diff_prints_is_a_patch(template: Path, tmp_path: Path) -> None:
    repository = tmp_path / "template"
    shutil.copytree(template, repository)
    commit_all(repository)
    done = run(tool("cruft"), "create", repository, "--no-input", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "Created my_tornado_app" in done.stderr
    project = tmp_path / "my_tornado_app"
    readme = project / "README.md"
    original = readme.read_bytes()
    readme.write_text("Mine.\n")
    commit_all(project)

    for exit_code in ([], ["--exit-code"]):
        done = run(tool("cruft"), "diff", *exit_code, cwd=project)
        assert done.stdout.startswith("diff --git ")
        assert done.stderr == ""
    (tmp_path / "patch").write_text(done.stdout)
    assert run("git", "apply", tmp_path / "patch", cwd=project).returncode == 0
    assert readme.read_bytes() == original
