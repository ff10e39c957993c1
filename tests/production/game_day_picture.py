"""The picture of a game day: requests per second, and what happened when."""

from __future__ import annotations

from typing import Final
from xml.sax.saxutils import escape

_WIDTH: Final = 760
_PLOT: Final = 150
_TOP: Final = 110
_LEFT: Final = 40

# Grey of middle brightness reads alike on white and on black.
_STYLE: Final = """\
text { font: 500 12px system-ui, -apple-system, "Segoe UI", sans-serif; fill: #768089 }
.title { font-weight: 700; font-size: 14px }
.good { fill: #2da44e } .bad { fill: #cf222e } line { stroke: #768089; stroke-dasharray: 3 3 }"""


def svg(seconds: list[tuple[int, int, int]], events: list[tuple[float, str]]) -> str:
    """`seconds` has the second, and how many requests worked and failed in it."""
    most = max(good + bad for _, good, bad in seconds)
    step = (_WIDTH - _LEFT) / len(seconds)
    bottom = _TOP + _PLOT
    shapes = ['<text class="title" x="0" y="16">Requests per second: answered, failed</text>']
    for second, good, bad in seconds:
        x, y = _LEFT + second * step, float(bottom)
        for kind, count in (("good", good), ("bad", bad)):
            height = count / most * _PLOT
            y -= height
            if count:
                shapes.append(
                    f'<rect class="{kind}" x="{x:.1f}" y="{y:.1f}" width="{step:.2f}" '
                    f'height="{height:.1f}"/>'
                )
    for number, (at, name) in enumerate(events):
        x, y = _LEFT + at * step, 34 + number % 4 * 18
        anchor, shift = ("end", -4) if x > _WIDTH * 0.75 else ("start", 4)
        shapes += [
            f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{y - 10}" y2="{bottom}"/>',
            f'<text x="{x + shift:.1f}" y="{y}" text-anchor="{anchor}">{escape(name)}</text>',
        ]
    every = 60 if len(seconds) > 180 else 20
    shapes += [
        f'<text x="{_LEFT + second * step:.1f}" y="{bottom + 16}">{second} s</text>'
        for second in range(0, len(seconds), every)
    ]
    shapes += [
        f'<text x="{_LEFT - 6}" y="{_TOP + 10}" text-anchor="end">{most}</text>',
        f'<text x="{_LEFT - 6}" y="{bottom}" text-anchor="end">0</text>',
    ]
    said = "; ".join(f"{name} at {at:.0f} s" for at, name in events)
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{_WIDTH}" height="{bottom + 24}"',
            f'  viewBox="0 0 {_WIDTH} {bottom + 24}" role="img" aria-labelledby="what">',
            f'<title id="what">Requests per second. {escape(said)}</title>',
            f"<style>\n{_STYLE}\n</style>",
            *shapes,
            "</svg>\n",
        ]
    )
