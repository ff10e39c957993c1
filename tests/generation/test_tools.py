"""Tools that cannot work are refused, and what an option has left out shows."""

from __future__ import annotations

import ast
import shutil
import sys
from pathlib import Path

import pytest

from ..conftest import ENGINES, TEMPLATE, Bake, run, tool, tree
from .test_updates import commit_all

OLDEST_THAT_WORKS = "cookiecutter==2.1.0"
EXTENSION = TEMPLATE / "needs_cookiecutter_2_1_or_cruft_2_16.py"
UNFINISHED = "This project is unfinished: it was generated with --accept-hooks=no"


@pytest.fixture(scope="module")
def old_tool(tmp_path_factory: pytest.TempPathFactory) -> OldTool:
    return OldTool(tmp_path_factory.mktemp("old-tools"))


class OldTool:
    """Cookiecutter or cruft of a certain version, in an environment of its own."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def __call__(self, requirement: str) -> Path:
        """The python of that environment."""
        environment = self._folder / requirement
        python = environment / "bin/python"
        if not environment.exists():
            done = run(sys.executable, "-m", "venv", environment, cwd=self._folder)
            assert done.returncode == 0, done.stdout + done.stderr
            # Versions of that time import pkg_resources.
            packages = [requirement, "setuptools<81"]
            command = [python, "-m", "pip", "install", "--quiet", *packages]
            done = run(*command, cwd=self._folder, timeout_s=300)
            assert done.returncode == 0, done.stdout + done.stderr
        return python


@pytest.mark.slow
@pytest.mark.parametrize("version", ["1.7.2", "1.7.3"])
def test_cookiecutter_1_is_refused_in_a_line(
    old_tool: OldTool, template: Path, tmp_path: Path, version: str
) -> None:
    program = old_tool(f"cookiecutter=={version}").with_name("cookiecutter")
    done = run(program, template, "--no-input", cwd=tmp_path)
    assert done.returncode != 0
    (line,) = (done.stdout + done.stderr).splitlines()
    assert (
        line == "Unable to load extension: No module named 'needs_cookiecutter_2_1_or_cruft_2_16'"
    )
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_cookiecutter_1_that_finds_the_module_is_refused_in_the_last_line(
    old_tool: OldTool, template: Path, tmp_path: Path
) -> None:
    """As `python -m cookiecutter .` does in the folder of the template."""
    command = [
        old_tool("cookiecutter==1.7.3"),
        "-m",
        "cookiecutter",
        ".",
        "--no-input",
        "-o",
        tmp_path,
    ]
    done = run(*command, cwd=template)
    assert done.returncode != 0
    assert done.stdout.splitlines()[-1] == (
        "Cannot create the project: this cookiecutter is older than 2.1; "
        "write for example pipx run cookiecutter."
    )
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_the_oldest_cookiecutter_that_is_not_refused_writes_the_same_project(
    old_tool: OldTool, bake: Bake, template: Path, tmp_path: Path
) -> None:
    program = old_tool(OLDEST_THAT_WORKS).with_name("cookiecutter")
    done = run(program, template, "--no-input", 'author=A "b" \\', cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert tree(tmp_path / "my_tornado_app") == tree(bake(author='A "b" \\'))
    done = run(program, template, "--no-input", "project_slug=makefile", cwd=tmp_path)
    assert done.returncode != 0
    (line,) = (done.stdout + done.stderr).splitlines()
    assert line.startswith('Cannot create the project: project_slug "makefile"')


@pytest.mark.slow
def test_a_cruft_that_could_not_update_the_project_does_not_create_it(
    old_tool: OldTool, template: Path, tmp_path: Path
) -> None:
    repository = tmp_path / "template"
    shutil.copytree(template, repository)
    commit_all(repository)
    folder = tmp_path / "empty"
    folder.mkdir()
    program = old_tool("cruft==2.15.0").with_name("cruft")
    done = run(program, "create", repository, "--no-input", cwd=folder)
    assert done.returncode != 0
    assert " ".join(done.stderr.split()).endswith(
        "FailedHookException: Cannot create the project: this cruft is older than 2.16; "
        "write for example pipx run cruft."
    )
    assert not list(folder.iterdir())


def test_a_python_that_is_too_old_is_refused_in_a_line(template: Path, tmp_path: Path) -> None:
    pretend = "import sys; sys.version_info = (3, 9, 2, 'final', 0); del sys.stdlib_module_names"
    start = f"{pretend}; from cookiecutter.cli import main; main()"
    done = run(sys.executable, "-c", start, template, "--no-input", cwd=tmp_path)
    assert done.returncode != 0
    (line,) = (done.stdout + done.stderr).splitlines()
    assert line == (
        "Cannot create the project: this is Python 3.9, and the project needs 3.11 or newer; "
        "write for example pipx run --python python3.11 cookiecutter."
    )
    assert not list(tmp_path.iterdir())


def test_a_python_that_is_too_old_can_read_the_refusal() -> None:
    """The oldest that a cookiecutter 2 runs on is 3.7, but for a `:=` here and there."""
    ast.parse(EXTENSION.read_text(), feature_version=(3, 8))


@pytest.mark.parametrize(
    "command",
    [
        ["make"],
        ["make", "run"],
        ["make", "test"],
        [sys.executable, "-m", "my_tornado_app"],
        [sys.executable, "-c", "from my_tornado_app.app import make_app"],
    ],
    ids=lambda command: " ".join(command[-2:]),
)
def test_a_project_without_hooks_says_so_when_it_is_first_run(
    template: Path, tmp_path: Path, command: list[str]
) -> None:
    options = ["--no-input", "--accept-hooks=no"]
    done = run(tool("cookiecutter"), template, *options, cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    project = tmp_path / "my_tornado_app"
    done = run(*command, cwd=project)
    assert done.returncode != 0
    (line,) = (done.stdout + done.stderr).splitlines()
    assert UNFINISHED in line
    assert "generate it again without that option" in line
    assert not (project / ".venv").exists()


def test_pytest_in_a_project_without_hooks_shows_the_reason(template: Path, tmp_path: Path) -> None:
    """It may add a traceback: that depends on when it imports the package."""
    options = ["--no-input", "--accept-hooks=no"]
    assert run(tool("cookiecutter"), template, *options, cwd=tmp_path).returncode == 0
    done = run(sys.executable, "-m", "pytest", cwd=tmp_path / "my_tornado_app")
    assert done.returncode != 0
    assert UNFINISHED in done.stdout + done.stderr


@pytest.mark.parametrize("engine", ENGINES)
def test_a_project_with_hooks_has_no_trace_of_that(bake: Bake, engine: str) -> None:
    for path, content in tree(bake(engine=engine)).items():
        assert b"accept-hooks" not in content, path


def test_answers_are_refused_without_hooks_too(template: Path, tmp_path: Path) -> None:
    options = ["--no-input", "--accept-hooks=no", "project_slug=makefile"]
    done = run(tool("cookiecutter"), template, *options, cwd=tmp_path)
    assert done.returncode != 0
    assert "Cannot create the project" in done.stderr
    assert not list(tmp_path.iterdir())
