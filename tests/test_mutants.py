"""`make mutants`: which faults it chooses, and what its report says."""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import cosmic_ray.plugins  # type: ignore[import-untyped]
import pytest
from cosmic_ray.commands import init  # type: ignore[import-untyped]
from cosmic_ray.mutating import mutate_code  # type: ignore[import-untyped]
from cosmic_ray.work_db import WorkDB, use_db  # type: ignore[import-untyped]
from cosmic_ray.work_item import MutationSpec  # type: ignore[import-untyped]

from scripts.mutants import sample_of

from .conftest import TEMPLATE, run

MODULE = """\
def is_between(low: int, value: int, *, high: int) -> bool:
    return low + 1 <= value < high - 1 and not value == 7
"""

FEW = "tests/mutated_tests/sessions/test_cookie.py"


@pytest.fixture
def database(tmp_path: Path) -> Iterator[WorkDB]:
    (tmp_path / "module.py").write_text(MODULE)
    with use_db(tmp_path / "faults.sqlite") as database:
        init([tmp_path / "module.py"], database, {})
        yield database


def _chosen(database: WorkDB, size: int, seed: int) -> list[MutationSpec]:
    faults = {item.job_id: item.mutations[0] for item in database.work_items}
    return [faults[job] for job in sample_of(database, Path(), size, seed)]


def test_the_same_seed_chooses_the_same_faults_in_another_session(
    database: WorkDB, tmp_path: Path
) -> None:
    first = _chosen(database, 5, seed=1)
    init([tmp_path / "module.py"], database, {})
    assert len(first) == 5
    assert _chosen(database, 5, seed=1) == first


def test_another_seed_chooses_other_faults(database: WorkDB) -> None:
    assert _chosen(database, 5, seed=1) != _chosen(database, 5, seed=2)


def test_a_place_gets_one_fault_of_a_kind(database: WorkDB) -> None:
    places = [
        (fault.start_pos, fault.operator_name.partition("_")[0])
        for fault in _chosen(database, 1000, seed=1)
    ]
    assert ((2, 15), "core/ReplaceBinaryOperator") in places
    assert len(places) == len(set(places))


def test_a_chosen_fault_is_still_python(database: WorkDB) -> None:
    # The * of the signature could become a +.
    operators = {item.mutations[0].operator_name for item in database.work_items}
    assert "core/ReplaceBinaryOperator_Mul_Add" in operators
    for seed in range(5):
        for fault in _chosen(database, 1000, seed):
            operator = cosmic_ray.plugins.get_operator(fault.operator_name)()
            ast.parse(mutate_code(MODULE, operator, fault.occurrence))


@pytest.mark.slow
def test_the_report_ends_with_the_rate() -> None:
    """With few tests, since all of them take minutes: which of the two are noticed plays no part."""
    options = ["--sample=2", "--engine=memcached", "--tests", FEW]
    done = run(sys.executable, "-m", "scripts.mutants", *options, cwd=TEMPLATE, timeout_s=600)
    last = done.stdout.rstrip().splitlines()[-1]
    rate = re.fullmatch(r"The suite notices ([0-2]) of 2 faults: [\d.]+%. The goal is 95%.", last)
    assert rate is not None, done.stdout + done.stderr
    assert done.stdout.count("--- mutation diff ---") == 2 - int(rate[1])
    assert done.returncode == (0 if rate[1] == "2" else 1)
