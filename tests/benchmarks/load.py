"""Visitors: a careful one for checks, wrk for throughput, a punctual one for latency.

All load goes to 127.0.0.1 and ends after a given time.
"""

from __future__ import annotations

import asyncio
import http.client
import re
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

HOST: Final = "127.0.0.1"
_SCRIPT: Final = Path(__file__).with_name("load.lua")
_UNITS: Final = {"us": 0.001, "ms": 1.0, "s": 1000.0, "m": 60_000.0}


class LoadFailed(Exception):
    """An application did not answer as it should: its figures would mean nothing."""


@dataclass(frozen=True)
class Request:
    """What wrk is to send."""

    path: str
    cookie: str = ""
    method: str = "GET"
    body: str = ""


@dataclass(frozen=True)
class Answer:
    status: int
    headers: http.client.HTTPMessage
    body: bytes


class Visitor:
    """One keep-alive connection, with a cookie jar; one request after the other."""

    def __init__(self, port: int, address: str = HOST) -> None:
        """Come from `address`, any in 127.0.0.0/8."""
        self._connection = http.client.HTTPConnection(
            HOST, port, timeout=30, source_address=(address, 0)
        )
        self.cookies: dict[str, str] = {}

    @property
    def cookie(self) -> str:
        """The Cookie header."""
        return "; ".join(f"{name}={value}" for name, value in self.cookies.items())

    def send(self, method: str, path: str, body: str | None = None) -> Answer:
        """Return the answer, whatever its status."""
        headers = {"Cookie": self.cookie} if self.cookies else {}
        if body is not None:
            headers["Content-Type"] = "application/x-www-form-urlencoded"
        self._connection.request(method, path, body, headers)
        response = self._connection.getresponse()
        answer = Answer(response.status, response.headers, response.read())
        for header in response.headers.get_all("Set-Cookie", []):
            name, _, value = header.partition(";")[0].partition("=")
            self.cookies[name] = value.strip('"')
        return answer

    def get(self, path: str) -> Answer:
        """Return the answer to a GET; raises `LoadFailed` unless it is a page."""
        answer = self.send("GET", path)
        if answer.status != 200:
            raise LoadFailed(f"GET {path} was answered with {answer.status}: {answer.body[:200]!r}")
        return answer

    def close(self) -> None:
        self._connection.close()


@dataclass(frozen=True)
class Throughput:
    requests: int
    requests_per_s: float
    p50_ms: float
    p99_ms: float
    failed: int


def hammer(
    port: int, requests: Sequence[Request], connections: int, seconds: int, scratch: Path
) -> Throughput:
    """Let `connections` visitors send as fast as they can, for `seconds`.

    Raises `LoadFailed` where more than one request in a hundred failed.
    """
    script = scratch / "requests.tsv"
    lines = (f"{r.method}\t{r.path}\t{r.cookie}\t{r.body}\n" for r in requests)
    script.write_text("".join(lines))
    command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--latency", "--timeout=15s"]
    command += [f"-s{_SCRIPT}", f"http://{HOST}:{port}/", "--", str(script)]
    done = subprocess.run(
        command, check=False, capture_output=True, text=True, timeout=seconds + 60
    )
    said = done.stdout
    rate = re.search(r"Requests/sec:\s+([\d.]+)", said)
    total = re.search(r"(\d+) requests in", said)
    if done.returncode or rate is None or total is None or total[1] == "0":
        raise LoadFailed(f"wrk failed: {said}{done.stderr}")
    failed = sum(int(number) for number in re.findall(r"Non-2xx or 3xx responses: (\d+)", said))
    for numbers in re.findall(r"Socket errors: (.*)", said):
        failed += sum(int(number) for number in re.findall(r"\d+", numbers))
    if failed * 100 > int(total[1]):
        raise LoadFailed(f"{failed} of {total[1]} requests failed:\n{said}")
    return Throughput(
        int(total[1]), float(rate[1]), _percentile(said, 50), _percentile(said, 99), failed
    )


def _percentile(said: str, percent: int) -> float:
    found = re.search(rf"{percent}%\s+([\d.]+)(us|ms|s|m)\b", said)
    return float(found[1]) * _UNITS[found[2]] if found else float("nan")


async def punctual(
    port: int, path: str, cookie: str = "", *, every_s: float, seconds: float
) -> list[float]:
    """Ask for `path` every `every_s`, for `seconds`; return how long each took, in ms.

    Each is a visitor of its own, who comes whether those before have got their answers or not: a
    server that stalls must not hide it by being asked less.
    """
    began = time.monotonic()
    visits = []
    for number in range(round(seconds / every_s)):
        await asyncio.sleep(max(0.0, began + number * every_s - time.monotonic()))
        visits.append(asyncio.create_task(_visit(port, path, cookie)))
    return await asyncio.gather(*visits)


async def _visit(port: int, path: str, cookie: str) -> float:
    started = time.monotonic()
    reader, writer = await asyncio.open_connection(HOST, port)
    header = f"Cookie: {cookie}\r\n" if cookie else ""
    request = f"GET {path} HTTP/1.1\r\nHost: {HOST}\r\nConnection: close\r\n{header}\r\n"
    writer.write(request.encode())
    answer = await reader.read()
    writer.close()
    if not answer.startswith(b"HTTP/1.1 200"):
        raise LoadFailed(f"GET {path} was answered with {answer[:500]!r}")
    return (time.monotonic() - started) * 1000
