"""What pycket 0.3.0 loses where the tests of this folder lose nothing. It is counted, not judged.

    python -m tests.promises.pycket_losses [--engine redis|memcached] [--venv build/pycket]

pycket is installed in an environment of its own on first use, beside current versions of Tornado
and of the stores' clients.
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
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final

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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else "")
    parser.add_argument("--engine", choices=ENGINES, help="one engine only (default: both)")
    parser.add_argument(
        "--venv", type=Path, default=Path("build/pycket"), help="where pycket is or will be"
    )
    arguments = parser.parse_args()
    python = installed(arguments.venv)
    for engine in [arguments.engine] if arguments.engine else ENGINES:
        print(f"pycket 0.3.0 on {engine}, two processes")
        with started(engine) as server, running(python, server) as urls:
            asyncio.run(count(urls))


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


async def count(urls: list[str]) -> None:
    async with client(CONNECTIONS) as http:
        await count_updates(http, urls)
        await count_items(http, urls)
        await count_deliveries(http, urls)
        await count_failures(http, urls)
        await count_first_requests(http, urls)


async def count_updates(http: SimpleAsyncHTTPClient, urls: list[str]) -> None:
    browser = await _visitor(http, urls)
    await asyncio.gather(*(browser.post("/keep", (f"n{n}", n)) for n in range(REQUESTS)))
    kept = len((await browser.get("/keep")).json) - 1
    print(f"  {REQUESTS} requests that set a name each: {kept} kept, {REQUESTS - kept} lost")


async def count_items(http: SimpleAsyncHTTPClient, urls: list[str]) -> None:
    browser = await _visitor(http, urls)
    await asyncio.gather(*(browser.post("/append", item=n) for n in range(REQUESTS)))
    kept = len((await browser.get("/keep")).json["items"])
    print(f"  {REQUESTS} requests that append to a list: {kept} kept, {REQUESTS - kept} lost")


async def count_deliveries(http: SimpleAsyncHTTPClient, urls: list[str]) -> None:
    browser = await _visitor(http, urls)
    counts: Counter[int] = Counter()
    for number in range(NOTIFICATIONS):
        await browser.post("/named", name=number)
        pages = await asyncio.gather(*(browser.get("/named", name="name") for _ in range(READERS)))
        counts[sum(page.json["value"] == str(number) for page in pages)] += 1
    twice = sum(often for times, often in counts.items() if times > 1)
    print(
        f"  {NOTIFICATIONS} notifications, {READERS} readers at once: "
        f"{counts[1]} delivered once, {twice} more than once, {counts[0]} never"
    )


async def count_failures(http: SimpleAsyncHTTPClient, urls: list[str]) -> None:
    browser = await _visitor(http, urls)
    lost = 0
    for number in range(VISITORS):
        await browser.post("/named", name=number)
        assert (await browser.get("/named", name="name", fail=1)).status == 500
        lost += (await browser.get("/named", name="name")).json["value"] != str(number)
    print(f"  {VISITORS} notifications whose first reader fails: {lost} lost")


async def count_first_requests(http: SimpleAsyncHTTPClient, urls: list[str]) -> None:
    whole = cookies = 0
    for _ in range(VISITORS):
        browser = Browser(http, *urls)
        page = await browser.post("/first")
        cookies += len(page.headers.get_list("Set-Cookie"))
        session = (await browser.get("/keep")).json
        named = (await browser.get("/named", name="named")).json["value"]
        whole += session == {"color": "green", "size": 3} and named == "for once"
    print(
        f"  {VISITORS} first requests that set two names and a notification: "
        f"{whole} find all of them again, {VISITORS - whole} do not ({cookies} cookies set)"
    )


async def _visitor(http: SimpleAsyncHTTPClient, urls: list[str]) -> Browser:
    browser = Browser(http, *urls)
    assert (await browser.post("/keep", began="yes")).status == 200
    return browser


if __name__ == "__main__":
    main()
