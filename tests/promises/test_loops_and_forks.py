"""Connections belong to one event loop of one process: an application may outlive its loop, and may
be forked.
"""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from .browser import Browser, client
from .generated import ENVIRONMENT
from .servers import HOST, Server, free_port, wait_for

LOOPS = 5
VISITORS = 32
FORKED = Path(__file__).with_name("forked_application.py")
LOOPING = Path(__file__).with_name("looping_application.py")


@pytest.mark.parametrize("end", ["close", "leave"])
def test_several_loops_in_turn_serve_one_application(server: Server, end: str) -> None:
    """As every AsyncHTTPTestCase with an application of its module does."""
    pycket = {**server_of(server), "key_prefix": secrets.token_hex(8)}
    done = subprocess.run(
        [sys.executable, str(LOOPING), json.dumps(pycket), str(LOOPS), end],
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert [json.loads(line) for line in done.stdout.splitlines()] == [
        {"visits": number, "told": [f"visit {number - 1}"] if number > 1 else []}
        for number in range(1, LOOPS + 1)
    ]


def server_of(server: Server) -> dict[str, Any]:
    return {"engine": server.engine, "storage": server.storage}


@contextmanager
def forked(server: Server) -> Iterator[str]:
    """The address of two processes that were forked from a connected one."""
    port = free_port()
    process = subprocess.Popen(
        [sys.executable, str(FORKED), str(port), json.dumps(server_of(server))],
        env=ENVIRONMENT,
        stderr=subprocess.DEVNULL,
        process_group=0,
    )
    url = f"http://{HOST}:{port}"
    try:
        wait_for(lambda: _serves(url), "the forked application")
        yield url
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _serves(url: str) -> bool:
    try:
        urllib.request.urlopen(f"{url}/keep", timeout=5).close()
    except OSError:
        return False
    return True


@pytest.mark.plain_loop
async def test_processes_that_were_forked_share_no_connection(server: Server) -> None:
    """Each visitor finds what is the visitor's own, whichever process answers."""
    with forked(server) as url:
        async with client(VISITORS) as http:
            visitors = [Browser(http, url) for _ in range(VISITORS)]
            pages = await asyncio.gather(
                *(visitor.post("/keep", number=n) for n, visitor in enumerate(visitors))
            )
            assert {page.status for page in pages} == {200}
            answered: set[int] = set()
            for _ in range(20):
                pages = await asyncio.gather(*(visitor.get("/keep") for visitor in visitors))
                for number, page in enumerate(pages):
                    assert page.status == 200
                    assert page.json["session"] == {"number": str(number)}
                    answered.add(page.json["process"])
            assert len(answered) == 2, "the test is blunt: one process has answered all"
