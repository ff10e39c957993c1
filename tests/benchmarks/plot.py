"""Results as a plot: bars in SVG, written by hand, legible on light and on dark pages."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final
from xml.sax.saxutils import escape

from report import APPS, ENGINES, number
from results import Results

CONNECTIONS: Final = 32
PAGES: Final = ("read", "write")

_WIDTH: Final = 760
_LABELS: Final = 190
_BAR: Final = 18
_STEP: Final = 24
_GROUP: Final = 34
_FIGURES: Final = 90

# Grey of middle brightness reads alike on white and on black. A media query would not do: a page may
# be dark where the system that it asks is light.
_STYLE: Final = """\
text { font: 500 13px system-ui, -apple-system, "Segoe UI", sans-serif; fill: #768089 }
.title { font-weight: 700; font-size: 14px }
.limit { fill: #8c959f } .ours { fill: #2da44e } .peer { fill: #d0781c }"""


def svg(results: Results) -> str:
    """Return the plot of reading and writing pages at 32 connections; "" where none were measured."""
    groups = list(_groups(results))
    if not groups:
        return ""
    most = max(rate for _, bars in groups for _, _, rate in bars)
    scale = (_WIDTH - _LABELS - _FIGURES) / most
    y = 28
    shapes = [
        f'<text class="title" x="0" y="16">Requests per second, {CONNECTIONS} connections, one process</text>'
    ]
    for title, bars in groups:
        y += _GROUP - 6
        shapes.append(f'<text class="title" x="0" y="{y}">{escape(title)}</text>')
        y += 8
        for label, kind, rate in bars:
            middle, width = y + _BAR - 5, max(1.0, rate * scale)
            shapes += [
                f'<text x="{_LABELS - 8}" y="{middle}" text-anchor="end">{escape(label)}</text>',
                f'<rect class="{kind}" x="{_LABELS}" y="{y}" width="{width:.1f}" height="{_BAR}" rx="2"/>',
                f'<text x="{_LABELS + width + 6:.1f}" y="{middle}">{number(rate)}</text>',
            ]
            y += _STEP
    said = "; ".join(
        f"{title}: {', '.join(f'{label} {number(rate)}' for label, _, rate in bars)}"
        for title, bars in groups
    )
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{_WIDTH}" height="{y + 6}"',
            f'  viewBox="0 0 {_WIDTH} {y + 6}" role="img" aria-labelledby="what">',
            f'<title id="what">Requests per second. {escape(said)}</title>',
            f"<style>\n{_STYLE}\n</style>",
            *shapes,
            "</svg>\n",
        ]
    )


def _groups(results: Results) -> Iterator[tuple[str, list[tuple[str, str, float]]]]:
    for engine, where in ENGINES.items():
        for page in PAGES:
            bars = []
            for app, label in {"nosession": "no session (the limit)", **APPS}.items():
                at = "none" if app == "nosession" else engine
                rate = results.find(page, at, app, CONNECTIONS, "requests_per_s")
                if rate is not None:
                    kind = {"nosession": "limit", "ours": "ours", "ours-uvloop": "ours"}.get(
                        app, "peer"
                    )
                    bars.append((label, kind, rate.median))
            if len(bars) > 1:
                yield f"{page.capitalize()}, sessions on {where}", bars
