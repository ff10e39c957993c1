"""The files of deploy/ and of containers: each is read by the program that it is for.

Docker and Kubernetes do not run here: their files are compared with the schemas of both.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from .conftest import ENGINES, Bake, run, tool, tree

SLUG = "my_tornado_app"
METRICS = {"deploy/alerts.yaml", "deploy/grafana.json"}
CONTAINERS = {".dockerignore", "Dockerfile", "compose.yaml", "deploy/kubernetes.yaml", *METRICS}
MACHINE = {"deploy/nginx.conf", f"deploy/{SLUG}.service", f"deploy/{SLUG}.socket", *METRICS}
CHOSEN = {"all": CONTAINERS | MACHINE, "containers": CONTAINERS, "machine": MACHINE, "none": set()}

DIGEST = re.compile(r"[\w./-]+:[\w.-]+@sha256:[0-9a-f]{64}")


@pytest.mark.parametrize("answer", CHOSEN)
def test_only_the_files_chosen_are_there_and_named(bake: Bake, answer: str) -> None:
    project = bake(deployment=answer)
    assert {path for path in tree(project) if path in CHOSEN["all"]} == CHOSEN[answer]
    readme = (project / "README.md").read_text()
    for path in CHOSEN["all"] - {".dockerignore"}:
        assert (f"{path}" in readme) == (path in CHOSEN[answer]), path
    updates = (project / ".github/dependabot.yml").read_text()
    assert ("docker" in updates) == ("Dockerfile" in CHOSEN[answer])


def test_every_image_is_pinned_by_its_digest(project: Path) -> None:
    stages = re.findall(r"^FROM (\S+)", (project / "Dockerfile").read_text(), re.MULTILINE)
    services = _yaml(project / "compose.yaml")["services"].values()
    images = [*stages, *(service["image"] for service in services if "image" in service)]
    assert len(images) == 4
    for image in images:
        assert DIGEST.fullmatch(image), image


def test_the_image_runs_as_a_numeric_user(project: Path) -> None:
    (user,) = re.findall(r"^USER (\S+)", (project / "Dockerfile").read_text(), re.MULTILINE)
    assert re.fullmatch(r"[1-9]\d+:[1-9]\d+", user)


def test_no_variable_of_the_image_stands_in_the_way_of_one_that_names_a_file(project: Path) -> None:
    settings = (project / SLUG / "settings.py").read_text()
    assert 'database_url: str = field(default="sqlite+aiosqlite:///app.db"' in settings
    image = (project / "Dockerfile").read_text()
    assert "DATABASE_URL" not in image
    assert "WORKDIR /data\nVOLUME /data\n" in image  # where the default is


def test_compose_limits_each_container_and_its_log_and_publishes_the_app_alone(
    project: Path,
) -> None:
    for name, service in _yaml(project / "compose.yaml")["services"].items():
        assert service["read_only"], name
        assert service["mem_limit"], name
        assert service["pids_limit"], name
        assert service["cap_drop"] == ["ALL"], name
        assert service["logging"]["options"]["max-size"], name
        assert ("ports" in service) == (name == "app"), name
        assert service.get("profiles") == (["postgresql"] if name == "postgresql" else None), name


# YAML takes the last ones for a boolean and for nothing, unless they are in quotes.
@pytest.mark.parametrize(
    ("engine", "slug"), [*((each, SLUG) for each in ENGINES), ("redis", "on"), ("redis", "null")]
)
def test_kubernetes_accepts_its_file(bake: Bake, engine: str, slug: str) -> None:
    project = bake(engine=engine, project_slug=slug)
    done = run(tool("kubernetes-validate"), "--strict", "deploy/kubernetes.yaml", cwd=project)
    assert done.returncode == 0, done.stdout + done.stderr
    assert (done.stdout + done.stderr).count("passed for resource") == 5


def test_pods_have_the_rights_and_probes_of_the_image(project: Path) -> None:
    objects = list(yaml.safe_load_all((project / "deploy/kubernetes.yaml").read_text()))
    (pod,) = (each["spec"]["template"]["spec"] for each in objects if each["kind"] == "Deployment")
    user = f"{pod['securityContext']['runAsUser']}:{pod['securityContext']['runAsGroup']}"
    assert f"USER {user}\n" in (project / "Dockerfile").read_text()
    (app,) = pod["containers"]
    assert app["livenessProbe"]["httpGet"]["path"] == "/healthz"
    assert app["readinessProbe"]["httpGet"]["path"] == "/readyz"
    for container in [app, *pod["initContainers"]]:
        assert container["securityContext"]["readOnlyRootFilesystem"]
        assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}


def test_systemd_finds_no_fault_in_its_units(bake: Bake, tmp_path: Path) -> None:
    units = _units(bake(), tmp_path)
    done = run("systemd-analyze", "verify", *units, cwd=tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", ""), done.stderr


def test_systemd_rates_the_service_as_hardened(bake: Bake, tmp_path: Path) -> None:
    """The exposure is 0 for a service that can do nothing, and 10 for one that can do all."""
    service, _ = _units(bake(), tmp_path)
    done = run("systemd-analyze", "security", "--offline=true", service, cwd=tmp_path)
    found = re.search(r"exposure level for \S+: ([\d.]+)", done.stdout)
    assert found
    assert float(found[1]) <= 1.5, done.stdout


def _units(project: Path, folder: Path) -> list[Path]:
    """Copy the units, with a Python that is installed here."""
    copies = []
    for kind in ("service", "socket"):
        copies.append(folder / f"{SLUG}.{kind}")
        text = (project / f"deploy/{SLUG}.{kind}").read_text()
        copies[-1].write_text(text.replace(f"/opt/{SLUG}/bin/python", sys.executable))
    return copies


def _yaml(path: Path) -> Any:
    return yaml.safe_load(path.read_text())
