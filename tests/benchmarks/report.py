"""Results as tables in Markdown, for the terminal and docs/speed.md, and as a line for the README."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

from results import Results, Summary

BEGIN: Final = "<!-- benchmark: begin, written by make bench -->"
END: Final = "<!-- benchmark: end -->"
SUMMARY_CONNECTIONS: Final = 32

ENGINES: Final = {"redis": "Redis", "memcached": "Memcached"}
APPS: Final = {
    "ours": "this template",
    "ours-uvloop": "this template, uvloop",
    "pycket": "pycket",
    "torndsession": "torndsession",
    "pycket-redis4": "pycket, redis-py 4",
    "torndsession-redis4": "torndsession, redis-py 4",
}
PAGES: Final = ("read", "write", "flash", "anonymous")

Row = Sequence[str]
Figure = tuple[str, str, str, int]
"""Label, workload, metric, connections."""

AGAINST_PEERS: Final[tuple[Figure, ...]] = (
    ("trips: anonymous page", "trips", "anonymous", 1),
    ("trips: read", "trips", "read", 1),
    ("trips: write", "trips", "write", 1),
    ("trips: form that leaves a message", "trips", "flash_form", 1),
    ("trips: page that shows it", "trips", "flash_page", 1),
    ("store frozen, page without a session: p50 ms", "stall", "p50_ms", 8),
    ("store frozen, page without a session: p99 ms", "stall", "p99_ms", 8),
    ("20 bytes of 100 kB change: bytes sent to the store", "large", "bytes_per_request", 32),
    ("20 bytes of 100 kB change: requests/s", "large", "requests_per_s", 32),
)
OURS: Final[tuple[Figure, ...]] = (
    ("read with 1,000 sessions in the store: requests/s", "read few", "requests_per_s", 32),
    ("read with {many} sessions: requests/s", "read many", "requests_per_s", 32),
    ("write with 1,000 sessions: requests/s", "write few", "requests_per_s", 32),
    ("write with {many} sessions: requests/s", "write many", "requests_per_s", 32),
    ("a session in the store: bytes", "weight", "bytes", 0),
    ("the same as a plain hash or string: bytes", "weight", "plain_bytes", 0),
    ("home page of the app, calm: p99 ms", "storm", "calm_p99_ms", 0),
    ("home page during 8 logins a second: p99 ms", "storm", "p99_ms", 0),
    ("such a login: p50 ms", "storm", "login_ms", 0),
    ("generating a project: s", "birth", "generation_s", 0),
    ("starting it, to the first answer: s", "birth", "start_s", 0),
    ("idle memory: MB", "birth", "memory_mb", 0),
)


class MarkersMissing(Exception):
    """A document has no place for the benchmark."""


def markdown(results: Results) -> str:
    """Return everything there is to say about a run."""
    parts = [_conditions(results)]
    for engine, label in ENGINES.items():
        title = f"Requests per second, sessions on {label}:"
        parts += _titled(title, _throughput(results, engine))
    title = "The same with a store that is 1 ms further away, and the part of the figure above:"
    parts += _titled(title, _latency(results))
    parts += _titled(
        "What it costs the store in trips, those of connecting included, and what trouble costs:",
        _peers(results),
    )
    parts += _titled("This template alone:", _ours(results))
    return "\n\n".join(parts) + "\n"


def summary(results: Results) -> str:
    """Return the README's line; "" where reading and writing were not measured."""
    parts = [part for engine in ENGINES if (part := _summary(results, engine))]
    if not parts:
        return ""
    return (
        f"Requests per second in one process, {SUMMARY_CONNECTIONS} connections: "
        f"{'; '.join(parts)}."
    )


def processor_time(results: Results) -> str:
    """Return a table for whoever optimises on a machine that others use, too: steadier than rates."""
    columns = [("none", "nosession")]
    columns += [(engine, app) for engine in ENGINES for app in _apps(results, engine, PAGES)]
    names = ("no session", *(_column(*column) for column in columns[1:]))
    rows: list[Row] = [("page", "connections", *names)]
    for page, connections in _places(results, PAGES):
        found = [results.find(page, *column, connections, "cpu_us") for column in columns]
        rows.append((page, str(connections), *map(_figure, found)))
    return "\n\n".join(_titled("Processor time of the application per request, in us:", rows))


def check(document: Path) -> None:
    """Raise `MarkersMissing` unless `document` has a place for `write`."""
    _around_markers(document)


def write(document: Path, content: str) -> None:
    """Put `content` between the markers, in place of what is there."""
    before, after = _around_markers(document)
    document.write_text(f"{before}{BEGIN}\n\n{content.rstrip()}\n\n{END}{after}")


def number(value: float) -> str:
    """As many digits as mean something."""
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}"


def _around_markers(document: Path) -> tuple[str, str]:
    text = document.read_text() if document.exists() else ""
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise MarkersMissing(f"{document} needs these two lines:\n{BEGIN}\n{END}")
    return before, after


def _summary(results: Results, engine: str) -> str:
    """Return reading and writing on one engine, beside the limit and pycket."""
    at = (SUMMARY_CONNECTIONS, "requests_per_s")
    figures = []
    for page in ("read", "write"):
        ours = results.find(page, engine, "ours", *at)
        limit = results.find(page, "none", "nosession", *at)
        peer = results.find(page, engine, "pycket", *at)
        if ours is None:
            return ""
        compared = [f"{ours.ratio(limit):.2f} of the same page without a session"] if limit else []
        compared += [f"{ours.ratio(peer):.1f} times pycket"] if peer else []
        said = f"{number(ours.median)} {page}s"
        figures.append(f"{said} ({', '.join(compared)})" if compared else said)
    return f"on {ENGINES[engine]} {' and '.join(figures)}"


def _conditions(results: Results) -> str:
    about = results.about
    return (
        f"Medians of {about['rounds']} interleaved rounds (peers: 3) on {about['cores']} cores, ± half the "
        f"range; {about['date']}, {about['versions']}. In brackets: the part of what the same "
        "handler does with the same requests and no session, and how many times faster this template "
        "is than a peer: medians of the rounds' own ratios."
    )


def _throughput(results: Results, engine: str) -> list[Row]:
    apps = _apps(results, engine, PAGES)
    if not apps:
        return []
    rows: list[Row] = [("page", "connections", "no session", *(APPS[app] for app in apps))]
    for page, connections in _places(results, PAGES):
        limit = results.find(page, "none", "nosession", connections, "requests_per_s")
        ours = results.find(page, engine, "ours", connections, "requests_per_s")
        row = [page, str(connections), _figure(limit)]
        for app in apps:
            rate = results.find(page, engine, app, connections, "requests_per_s")
            of = _part(rate, limit) if app.startswith("ours") else _times(ours, rate)
            row.append(_figure(rate, of))
        rows.append(row)
    return rows


def _latency(results: Results) -> list[Row]:
    workloads = [f"{page} far" for page in PAGES]
    columns = [(engine, app) for engine in ENGINES for app in _apps(results, engine, workloads)]
    rows: list[Row] = [("page", "connections", *(_column(*column) for column in columns))]
    for workload, connections in _places(results, workloads):
        page = workload.removesuffix(" far")
        row = [page, str(connections)]
        for engine, app in columns:
            far = results.find(workload, engine, app, connections, "requests_per_s")
            near = results.find(page, engine, app, connections, "requests_per_s")
            row.append(_figure(far, _part(far, near)))
        rows.append(row)
    near_rows = [f"{page} near" for page in PAGES]
    for workload, connections in _places(results, near_rows):
        page = workload.removesuffix(" near")
        row = [f"{page}, no delay in the proxy", str(connections)]
        for engine, app in columns:
            near = results.find(workload, engine, app, connections, "requests_per_s")
            row.append(_figure(near))
        rows.append(row)
    return rows


def _peers(results: Results) -> list[Row]:
    workloads = ("trips", "stall", "large")
    columns = [(engine, app) for engine in ENGINES for app in _apps(results, engine, workloads)]
    return [
        ("", *(_column(*column) for column in columns)),
        *_rows(results, columns, AGAINST_PEERS),
    ]


def _ours(results: Results) -> list[Row]:
    columns = [
        (engine, "ours")
        for engine in ENGINES
        if _apps(results, engine, ["birth", "weight", "storm"])
    ]
    many = f"{results.about['many']:,}"
    figures: list[Figure] = [(figure[0].format(many=many), *figure[1:]) for figure in OURS]
    return [("", *(ENGINES[engine] for engine, _ in columns)), *_rows(results, columns, figures)]


def _rows(
    results: Results, columns: Sequence[tuple[str, str]], figures: Iterable[Figure]
) -> list[Row]:
    rows: list[Row] = []
    for label, workload, metric, connections in figures:
        found = [
            results.find(workload, engine, app, connections, metric) for engine, app in columns
        ]
        if any(found):
            rows.append((label, *map(_figure, found)))
    return rows


def _figure(summary: Summary | None, remark: str = "") -> str:
    if summary is None:
        return ""
    spread = f" ±{summary.spread:.0%}" if summary.spread >= 0.005 else ""
    return f"{number(summary.median)}{spread}{remark}"


def _part(rate: Summary | None, limit: Summary | None) -> str:
    return f" ({rate.ratio(limit):.2f})" if rate and limit else ""


def _times(ours: Summary | None, rate: Summary | None) -> str:
    return f" ({ours.ratio(rate):.1f}x)" if rate and ours else ""


def _apps(results: Results, engine: str, workloads: Sequence[str]) -> list[str]:
    seen = {s.app for s in results.samples if s.engine == engine and s.workload in workloads}
    return [app for app in APPS if app in seen]


def _places(results: Results, workloads: Sequence[str]) -> list[tuple[str, int]]:
    seen = {(s.workload, s.connections) for s in results.samples}
    return sorted(
        (place for place in seen if place[0] in workloads),
        key=lambda place: (workloads.index(place[0]), place[1]),
    )


def _column(engine: str, app: str) -> str:
    return f"{APPS[app]} on {ENGINES[engine]}"


def _titled(title: str, rows: Sequence[Row]) -> list[str]:
    if len(rows) < 2:
        return []
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for row in rows:
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        lines.append(f"| {' | '.join(cells)} |")
    rule = [":" + "-" * (widths[0] - 1), *("-" * (width - 1) + ":" for width in widths[1:])]
    lines.insert(1, f"| {' | '.join(rule)} |")
    return [title, "\n".join(lines)]
