"""What pycket 0.3.0 loses where the tests of this folder lose nothing. It is counted, not judged.

    python -m tests.promises.pycket_losses [--engine redis|memcached] [--venv build/pycket] [--write]

pycket is installed in an environment of its own on first use, beside current versions of Tornado
and of the stores' clients. `--write` puts the counts of both engines into docs/promises.md, and
their picture beside it.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import subprocess
import urllib.error
import urllib.request
import venv
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final, NamedTuple

from tornado.simple_httpclient import SimpleAsyncHTTPClient

from .browser import Browser, client
from .servers import ENGINES, HOST, Server, free_port, started, wait_for

REQUESTS: Final = 2000
CONNECTIONS: Final = 64
NOTIFICATIONS: Final = 1000
READERS: Final = 8
VISITORS: Final = 100

PACKAGES: Final = ("pycket==0.3.0", "tornado>=6.6", "redis>=8.1", "python-memcached>=1.62")
PROGRAM: Final = Path(__file__).with_name("pycket_application.py")

DOCS: Final = Path(__file__).parents[2] / "docs"
BEGIN: Final = "<!-- losses: begin, written by python -m tests.promises.pycket_losses --write -->"
END: Final = "<!-- losses: end -->"


class Count(NamedTuple):
    """What became of `tries` attempts; `losses` says how many were lost, by how."""

    test: str
    tries: int
    losses: Mapping[str, int]

    @property
    def words(self) -> str:
        """The losses in words: "344 twice, 0 never"."""
        return ", ".join(f"{number:,} {how}" for how, number in self.losses.items())


Test = Callable[[SimpleAsyncHTTPClient, list[str]], Awaitable[Count]]
Counts = Mapping[str, Sequence[Count]]
"""By engine."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else "")
    parser.add_argument("--engine", choices=ENGINES, help="one engine only (default: both)")
    parser.add_argument(
        "--venv", type=Path, default=Path("build/pycket"), help="where pycket is or will be"
    )
    parser.add_argument("--write", action="store_true", help="put the counts into docs/promises.md")
    arguments = parser.parse_args()
    if arguments.write and arguments.engine:
        parser.error("--write needs the counts of both engines: leave --engine out")
    python = installed(arguments.venv)
    counts = {}
    for engine in [arguments.engine] if arguments.engine else ENGINES:
        print(f"pycket 0.3.0 on {engine}, two processes")
        counts[engine] = [count(test, python, engine) for test in TESTS]
    if arguments.write:
        write(counts, DOCS)


def write(counts: Counts, docs: Path) -> None:
    """Put the table between the markers of promises.md, and write its picture."""
    page = docs / "promises.md"
    before, begin, rest = page.read_text().partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise SystemExit(f"{page} needs these two lines:\n{BEGIN}\n{END}")
    shown = f"{table(counts)}\n\n![What is lost, or delivered twice](promises.svg)"
    page.write_text(f"{before}{BEGIN}\n\n{shown}\n\n{END}{after}")
    (docs / "promises.svg").write_text(picture(counts))
    print(f"Written: {page} and promises.svg")


def table(counts: Counts) -> str:
    """Return the counts as a table in Markdown."""
    engines = list(counts)
    rows = [
        "| the same test | " + " | ".join(f"pycket on {NAMES[e]}" for e in engines) + " | here |",
        "|---|" + "---|" * (len(engines) + 1),
    ]
    for same in zip(*counts.values(), strict=True):
        words = " | ".join(each.words for each in same)
        rows.append(f"| {same[0].tries:,} {same[0].test} | {words} | 0 |")
    return "\n".join(rows)


NAMES: Final = {"redis": "Redis", "memcached": "Memcached"}


def picture(counts: Counts) -> str:
    """Return the parts that were lost as bars, legible on light and on dark pages."""
    left, full, step = 230, 400, 22
    y, shapes = 24, ['<text class="title" x="0" y="16">Lost, or delivered twice</text>']
    said = []
    for same in zip(*counts.values(), strict=True):
        y += step
        title = f"{same[0].tries:,} {same[0].test}"
        shapes.append(f'<text class="title" x="0" y="{y}">{title}</text>')
        bars = [
            (f"pycket on {NAMES[engine]}", "peer", each)
            for engine, each in zip(counts, same, strict=True)
        ]
        for label, kind, each in [*bars, ("this template", "ours", Count("", 1, {}))]:
            y += step
            part = sum(each.losses.values()) / each.tries
            width = max(2.0, part * full)
            shapes += [
                f'<text x="{left - 8}" y="{y}" text-anchor="end">{label}</text>',
                f'<rect class="{kind}" x="{left}" y="{y - 13}" width="{width:.1f}" height="16"/>',
                f'<text x="{left + width + 6:.1f}" y="{y}">{part:.0%}</text>',
            ]
            said.append(f"{title}, {label}: {part:.0%}")
        y += 6
    height = y + 10
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" width="760" height="{height}"',
            f'  viewBox="0 0 760 {height}" role="img" aria-labelledby="what">',
            f'<title id="what">Lost, or delivered twice. {"; ".join(said)}.</title>',
            "<style>",
            'text { font: 500 13px system-ui, -apple-system, "Segoe UI", sans-serif; fill: #768089 }',
            ".title { font-weight: 700 } .ours { fill: #2da44e } .peer { fill: #d0781c }",
            "</style>",
            *shapes,
            "</svg>\n",
        ]
    )


def installed(directory: Path) -> Path:
    """Return the interpreter of an environment with pycket."""
    python = directory / "bin" / "python"
    if not python.exists():
        venv.create(directory, with_pip=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", *PACKAGES], check=True)
    return python


@contextmanager
def running(python: Path, server: Server) -> Iterator[list[str]]:
    """Two processes of the application on pycket."""
    pycket = {"engine": "memcached" if server.engine == "memcached" else "redis"}
    settings = json.dumps({**pycket, "storage": server.storage})
    with ExitStack() as stack:
        urls = []
        for port in (free_port(), free_port()):
            process = subprocess.Popen(
                [python, str(PROGRAM), str(port), settings], stderr=subprocess.DEVNULL
            )
            stack.callback(process.wait)
            stack.callback(process.kill)
            urls.append(f"http://{HOST}:{port}")
            wait_for(lambda url=urls[-1]: _serves(url), "pycket's application")
        yield urls


def _serves(url: str) -> bool:
    try:
        urllib.request.urlopen(url, timeout=5).close()
    except urllib.error.HTTPError:  # no page there, but somebody who says so
        return True
    except OSError:
        return False
    return True


def count(test: Test, python: Path, engine: str) -> Count:
    """Count on a server and processes of its own: what one test leaves open harms no other."""

    async def run(urls: list[str]) -> Count:
        async with client(CONNECTIONS) as http:
            return await test(http, urls)

    with started(engine) as server, running(python, server) as urls:
        counted = asyncio.run(run(urls))
    print(f"  {counted.tries:,} {counted.test}: {counted.words}")
    return counted


async def count_updates(http: SimpleAsyncHTTPClient, urls: list[str]) -> Count:
    browser = await _visitor(http, urls)
    await asyncio.gather(*(browser.post("/keep", (f"n{n}", n)) for n in range(REQUESTS)))
    kept = len((await browser.get("/keep")).json) - 1
    return Count("requests that set a name each", REQUESTS, {"lost": REQUESTS - kept})


async def count_items(http: SimpleAsyncHTTPClient, urls: list[str]) -> Count:
    browser = await _visitor(http, urls)
    await asyncio.gather(*(browser.post("/append", item=n) for n in range(REQUESTS)))
    kept = len((await browser.get("/keep")).json["items"])
    return Count("requests that append to one list", REQUESTS, {"lost": REQUESTS - kept})


async def count_deliveries(http: SimpleAsyncHTTPClient, urls: list[str]) -> Count:
    browser = await _visitor(http, urls)
    counts: Counter[int] = Counter()
    for number in range(NOTIFICATIONS):
        await browser.post("/named", name=number)
        pages = await asyncio.gather(*(browser.get("/named", name="name") for _ in range(READERS)))
        counts[sum(page.json["value"] == str(number) for page in pages)] += 1
    twice = sum(often for times, often in counts.items() if times > 1)
    test = f"notifications, {READERS} readers at once"
    return Count(test, NOTIFICATIONS, {"more than once": twice, "never": counts[0]})


async def count_failures(http: SimpleAsyncHTTPClient, urls: list[str]) -> Count:
    browser = await _visitor(http, urls)
    lost = 0
    for number in range(VISITORS):
        await browser.post("/named", name=number)
        assert (await browser.get("/named", name="name", fail=1)).status == 500
        lost += (await browser.get("/named", name="name")).json["value"] != str(number)
    return Count("notifications whose first reader fails", VISITORS, {"lost": lost})


async def count_first_requests(http: SimpleAsyncHTTPClient, urls: list[str]) -> Count:
    whole = 0
    for _ in range(VISITORS):
        browser = Browser(http, *urls)
        await browser.post("/first")
        session = (await browser.get("/keep")).json
        named = (await browser.get("/named", name="named")).json["value"]
        whole += session == {"color": "green", "size": 3} and named == "for once"
    test = "first requests that store two values and a notification"
    return Count(test, VISITORS, {"not found again": VISITORS - whole})


async def _visitor(http: SimpleAsyncHTTPClient, urls: list[str]) -> Browser:
    browser = Browser(http, *urls)
    assert (await browser.post("/keep", began="yes")).status == 200
    return browser


TESTS: Final[Sequence[Test]] = (
    count_updates,
    count_items,
    count_deliveries,
    count_failures,
    count_first_requests,
)


if __name__ == "__main__":
    main()
