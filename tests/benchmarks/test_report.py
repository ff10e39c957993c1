"""What the benchmark says about figures that it was given; nothing is measured here."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

import plot
import pytest
import report
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
    readme = tmp_path / "README.md"
    readme.write_text(f"before\n\n{report.BEGIN}\n{report.END}\n\nafter\n")
    report.write_readme(readme, "first\n")
    report.write_readme(readme, "second\n")
    assert readme.read_text() == f"before\n\n{report.BEGIN}\n\nsecond\n\n{report.END}\n\nafter\n"


def test_a_readme_without_markers_is_left_alone(tmp_path: Path) -> None:
    readme = tmp_path / "README.md"
    readme.write_text("no place\n")
    with pytest.raises(report.ReadmeMarkersMissing, match="needs these two lines"):
        report.check_readme(readme)


def test_the_plot_says_its_figures_in_words_too(results: Results) -> None:
    title = ElementTree.fromstring(plot.svg(results)).findtext("{http://www.w3.org/2000/svg}title")
    assert "no session (the limit) 3,000, this template 2,400, pycket 300" in (title or "")
