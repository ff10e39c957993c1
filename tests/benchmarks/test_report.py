"""What the benchmark says about figures that it was given; nothing is measured here."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from xml.etree import ElementTree

import plot
import pytest
import report
import run
from results import Results, Sample, Summary

ABOUT = {"rounds": 3, "cores": 2, "date": "2026-01-31", "versions": "Python 3.11", "many": 1000}


@pytest.fixture
def results() -> Results:
    rates = {("none", "nosession"): 3000, ("redis", "ours"): 2400, ("redis", "pycket"): 300}
    return Results(
        ABOUT,
        [
            Sample("read", engine, app, 32, "requests_per_s", round_, rate + off)
            for (engine, app), rate in rates.items()
            for round_, off in enumerate((-30, 0, 60))
        ],
    )


def test_a_figure_is_the_median_with_its_spread_and_its_ratio(results: Results) -> None:
    row = next(line for line in report.markdown(results).splitlines() if line.startswith("| read"))
    cells = [cell.strip() for cell in row.strip("|").split("|")]
    assert cells == ["read", "32", "3,000 ±2%", "2,400 ±2% (0.80)", "300 ±15% (8.0x)"]


def test_a_ratio_is_that_of_figures_from_the_same_round() -> None:
    loaded = {0: 3000.0, 1: 1500.0, 2: 3000.0}  # somebody else was busy in round 1
    summary = Summary({0: 2400.0, 1: 1200.0})
    assert summary.ratio(Summary(loaded)) == 0.8


def test_what_was_not_measured_has_no_table(results: Results) -> None:
    assert "Memcached" not in report.markdown(results)


def test_figures_that_were_kept_read_the_same(results: Results, tmp_path: Path) -> None:
    results.save(tmp_path / "results.json")
    assert report.markdown(Results.load(tmp_path / "results.json")) == report.markdown(results)


def test_the_report_replaces_the_one_before_and_nothing_else(tmp_path: Path) -> None:
    document = tmp_path / "speed.md"
    document.write_text(f"before\n\n{report.BEGIN}\n{report.END}\n\nafter\n")
    report.write(document, "first\n")
    report.write(document, "second\n")
    assert document.read_text() == f"before\n\n{report.BEGIN}\n\nsecond\n\n{report.END}\n\nafter\n"


def test_a_document_without_markers_is_left_alone(tmp_path: Path) -> None:
    document = tmp_path / "speed.md"
    document.write_text("no place\n")
    with pytest.raises(report.MarkersMissing, match="needs these two lines"):
        report.write(document, "figures")
    assert document.read_text() == "no place\n"


@pytest.mark.parametrize("document", [run.SPEED, run.README], ids=lambda path: path.name)
def test_the_documents_have_a_place_for_the_report(document: Path) -> None:
    report.check(document)


def test_the_readme_gets_one_line_with_the_limit_and_pycket(results: Results) -> None:
    for sample in list(results.samples):
        results.add(dataclasses.replace(sample, workload="write", value=sample.value / 2))
    assert report.summary(results) == (
        "Requests per second in one process, 32 connections: on Redis 2,400 reads (0.80 of the "
        "same page without a session, 8.0 times pycket) and 1,200 writes (0.80 of the same page "
        "without a session, 8.0 times pycket)."
    )


def test_the_readme_gets_no_line_where_nothing_was_measured() -> None:
    assert report.summary(Results(ABOUT)) == ""


def test_the_plot_says_its_figures_in_words_too(results: Results) -> None:
    title = ElementTree.fromstring(plot.svg(results)).findtext("{http://www.w3.org/2000/svg}title")
    assert "no session (the limit) 3,000, this template 2,400, pycket 300" in (title or "")
