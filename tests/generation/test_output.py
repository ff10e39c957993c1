"""What comes out for which answers."""

from __future__ import annotations

import json
import re
import shutil
import tomllib
from pathlib import Path

import pytest
from cookiecutter.main import cookiecutter

from ..conftest import ENGINES, LICENSES, TEMPLATE, Bake, tree

# Licenses speak of redistribution.
NAME_OF = {"redis": r"redis(?!tribut)", "memcached": r"memcache"}
OTHER = {"redis": "memcached", "memcached": "redis"}

DIFFERENT_ANSWERS = {
    "project_name": "Harbour Log",
    "project_slug": "harbour",
    "description": "Which ship lies where.",
    "author": "Grace Hopper",
    "email": "grace@example.org",
    "engine": "memcached",
    "license": "Apache-2.0",
    "ci": "gitlab",
    "deployment": "none",
}


def test_every_question_is_asked_in_words_and_every_choice_has_a_label() -> None:
    questions = json.loads((TEMPLATE / "cookiecutter.json").read_text())
    prompts = questions["__prompts__"]
    assert set(prompts) == {name for name in questions if not name.startswith("_")}
    for name, prompt in prompts.items():
        if isinstance(questions[name], list):
            assert set(prompt) == {"__prompt__", *questions[name]}


@pytest.mark.parametrize("question", DIFFERENT_ANSWERS)
def test_every_answer_changes_the_output(bake: Bake, question: str) -> None:
    default = bake("default", project_slug="same")
    changed = bake("changed", **{"project_slug": "same", question: DIFFERENT_ANSWERS[question]})
    assert tree(changed) != tree(default)


def test_every_question_is_tried_above() -> None:
    questions = json.loads((TEMPLATE / "cookiecutter.json").read_text())
    assert set(DIFFERENT_ANSWERS) == {name for name in questions if not name.startswith("_")}


@pytest.mark.parametrize("license_name", LICENSES)
@pytest.mark.parametrize("engine", ENGINES)
def test_every_engine_goes_with_every_license(bake: Bake, engine: str, license_name: str) -> None:
    project = bake(engine=engine, license=license_name, author="Grace Hopper")
    metadata = tomllib.loads((project / "pyproject.toml").read_text())["project"]
    if license_name == "none":
        assert not (project / "LICENSE").exists()
        assert metadata["license"] == "LicenseRef-Proprietary"
    else:
        assert "Grace Hopper" in (project / "LICENSE").read_text()
        assert metadata["license"] == license_name
    client = {"redis": "redis[hiredis]", "memcached": "python-memcached"}
    dependencies = " ".join(metadata["dependencies"])
    assert client[engine] in dependencies
    assert client[OTHER[engine]] not in dependencies
    _assert_nothing_names(OTHER[engine], project)


@pytest.mark.parametrize("engine", ENGINES)
def test_files_of_the_engine_chosen_stay(bake: Bake, engine: str) -> None:
    project = bake(engine=engine)
    assert (project / f"my_tornado_app/sessions/engines/{engine}.py").exists()
    assert (project / f"tests/my_tornado_app_tests/server_{engine}.py").exists()


@pytest.mark.parametrize("engine", ENGINES)
def test_a_project_may_have_an_engine_in_its_name(bake: Bake, engine: str) -> None:
    slug = f"{OTHER[engine]}_demo"
    named = bake("named", engine=engine, project_slug=slug)
    plain = bake("plain", engine=engine, project_slug="plain")
    assert {path.replace(slug, "plain") for path in tree(named)} == set(tree(plain))


def test_nothing_is_left_unrendered(project: Path) -> None:
    for path, content in tree(project).items():
        assert "cookiecutter" not in path
        text = content.decode()
        assert not re.search(r"\{[{%#]-?\s*(cookiecutter|(el)?if cookiecutter)", text), path
        if not re.search(
            r"/(templates|static)/|\.github/workflows/|README|recipes\.md|alerts\.yaml|grafana\.json",
            path,
        ):
            assert not re.search(r"\{\{|\{%", text), path


def test_no_marker_is_left(project: Path) -> None:
    for path, content in tree(project).items():
        assert not re.search(rb"# (engine: \w+|without hooks)$", content, re.MULTILINE), path


def test_files_end_with_one_line_end(project: Path) -> None:
    for path, content in tree(project).items():
        if content and not path.endswith((".png", ".ico")):
            assert content.endswith(b"\n"), path
            assert not content.endswith(b"\n\n"), path


def test_caches_in_the_template_stay_out_of_the_output(template: Path, tmp_path: Path) -> None:
    used = tmp_path / "used"
    shutil.copytree(template, used)
    project = used / "{{cookiecutter.project_slug}}"
    for folder in (project, project / "{{cookiecutter.project_slug}}" / "sessions"):
        for cache in (folder / "__pycache__", folder / ".ruff_cache" / "0.1"):
            cache.mkdir(parents=True)
            (cache / "data").write_bytes(b"\x91{{ no template }}")
    outputs = []
    for source in (template, used):
        folder = tmp_path / f"from-{source.name}"
        outputs.append(Path(cookiecutter(str(source), no_input=True, output_dir=str(folder))))
    clean, baked = outputs
    assert _all_paths(baked) == _all_paths(clean)

    # And those of a project stay in it.
    own = baked / "my_tornado_app/sessions/__pycache__/own"
    own.parent.mkdir()
    own.touch()
    folder = str(baked.parent)
    cookiecutter(str(used), no_input=True, output_dir=folder, overwrite_if_exists=True)
    assert _all_paths(baked) == _all_paths(clean) | {
        own.parent.relative_to(baked),
        own.relative_to(baked),
    }


def test_two_bakes_are_identical(bake: Bake) -> None:
    assert tree(bake("one")) == tree(bake("two"))


@pytest.mark.parametrize(
    ("name", "slug"),
    [
        ("Harbour Log", "harbour_log"),
        ("Ünïcode Straße", "unicode_strasse"),
        ("3 Musketeers", "app_3_musketeers"),
        ("what's-up, doc?", "what_s_up_doc"),
        ("...", "app_project"),
        ("x" * 200, "x" * 46),
        ("9" * 200, "app_" + "9" * 46),
        ("two words " * 20, "two_words_two_words_two_words_two_words_two"),
    ],
)
def test_the_package_gets_a_sensible_name(bake: Bake, name: str, slug: str) -> None:
    assert bake(project_name=name).name == slug


def _all_paths(project: Path) -> set[Path]:
    return {path.relative_to(project) for path in project.rglob("*")}


def _assert_nothing_names(engine: str, project: Path) -> None:
    name = re.compile(NAME_OF[engine], re.IGNORECASE)
    named = [path for path in tree(project) if name.search(path)]
    named += [
        f"{path}:{number}: {line.strip()}"
        for path, content in tree(project).items()
        for number, line in enumerate(content.decode().splitlines(), 1)
        if name.search(line)
    ]
    assert not named, "\n".join(named)
