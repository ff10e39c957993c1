"""Results as tables in Markdown, for the terminal and the README."""

from __future__ import annotations

from collections.abc import Sequence

from results import Results, Summary
from workloads import PAGES

LABELS = {
    "ours": "this template",
    "nosession": "no session",
    "pycket": "pycket",
    "torndsession": "torndsession",
}


def tables(results: Results) -> str:
    """Return all tables."""
    return throughput_table(results) + raw(results)


def throughput_table(results: Results) -> str:
    rows = [
        (
            "page",
            "connections",
            "store",
            "app",
            "requests/s",
            "of no session",
            "against it",
            "CPU us",
        )
    ]
    seen = sorted({s.connections for s in results.samples})
    for page in PAGES:
        for connections in seen:
            limit = results.find(page, "none", "nosession", connections, "requests_per_s")
            for engine in ("none", "redis", "memcached"):
                ours = results.find(page, engine, "ours", connections, "requests_per_s")
                for app, label in LABELS.items():
                    got = results.find(page, engine, app, connections, "requests_per_s")
                    if got is None:
                        continue
                    of = f"{got.median / limit.median:.2f}" if limit else ""
                    against = f"{ours.median / got.median:.1f}x" if ours and app != "ours" else ""
                    cpu = results.find(page, engine, app, connections, "cpu_us")
                    used = figure(cpu) if cpu else ""
                    rows.append(
                        (page, str(connections), engine, label, figure(got), of, against, used)
                    )
    return markdown(rows)


def figure(summary: Summary) -> str:
    return f"{summary.median:,.0f} ±{summary.spread:.0%}"


def markdown(table: Sequence[Sequence[str]]) -> str:
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    lines = []
    for row in table:
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        lines.append(f"| {' | '.join(cells)} |")
    lines.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
    return "\n".join(lines)


def raw(results: Results) -> str:
    """Everything, one line a figure."""
    places = dict.fromkeys(
        (s.workload, s.engine, s.app, s.connections, s.metric) for s in results.samples
    )
    return "\n".join(f"{' '.join(map(str, p)):60} {results.find(*p)}" for p in places)
