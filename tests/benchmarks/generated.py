"""Cases about the generated project itself: how soon it is there, and how it bears a rush of logins."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Final
from urllib.parse import urlencode

import environment
from lab import Lab
from load import LoadFailed, Visitor, punctual
from probes import percentile
from servers import Server, end, free_port
from workloads import Case, Plan

LOGINS_PER_S: Final = 8
USERS: Final = 24
"""Each with an address of their own, or the app would take them for somebody who guesses."""
PASSWORD: Final = "correct horse battery"


def birth(plan: Plan) -> list[Case]:
    """From the template to an answer, and what the app weighs then."""
    return [
        Case("birth", engine, "ours", 0, partial(_birth, engine=engine)) for engine in plan.engines
    ]


def _birth(lab: Lab, engine: str) -> Mapping[str, float]:
    baked = lab.project(engine)
    environment.python_of(baked)  # its environment, outside the time that is taken
    again = environment.bake(engine, lab.servers.scratch)
    started = time.perf_counter()
    server = _start(lab, again, engine)
    Visitor(server.port).get("/healthz")
    took = time.perf_counter() - started
    time.sleep(0.5)
    memory_mb = server.memory_mb()
    end(server.process)
    shutil.rmtree(again.path)
    return {"generation_s": again.baked_in_s, "start_s": took, "memory_mb": memory_mb}


def storm(plan: Plan) -> list[Case]:
    """People log in, eight a second; how does another page fare?"""
    seconds = 2 if plan.quick else 6
    return [
        Case("storm", engine, "ours", 0, partial(_storm, engine=engine, seconds=seconds))
        for engine in plan.engines
    ]


def _storm(lab: Lab, engine: str, seconds: int) -> Mapping[str, float]:
    server = _start(lab, lab.project(engine), engine)
    users = range(USERS)
    for user in users:
        _enter(server.port, "/register", user)
    reader = Visitor(server.port)
    reader.get("/")
    ask = partial(punctual, server.port, "/", reader.cookie, every_s=0.01)
    calm = asyncio.run(ask(seconds=1))
    with ThreadPoolExecutor(4 * LOGINS_PER_S) as threads:
        asking = threads.submit(lambda: asyncio.run(ask(seconds=seconds)))
        began = time.monotonic()
        logins = []
        for number in range(seconds * LOGINS_PER_S):
            time.sleep(max(0.0, began + number / LOGINS_PER_S - time.monotonic()))
            logins.append(threads.submit(_enter, server.port, "/login", users[number % USERS]))
        stormy = asking.result()
        took = [login.result() for login in logins]
    end(server.process)
    return {
        "calm_p99_ms": percentile(calm, 99),
        "p50_ms": percentile(stormy, 50),
        "p99_ms": percentile(stormy, 99),
        "login_ms": percentile(took, 50),
    }


def _enter(port: int, path: str, user: int) -> float:
    """Log in or register; return how long it took, in ms."""
    visitor = Visitor(port, f"127.0.1.{user + 1}")
    started = time.perf_counter()
    form = urlencode({"username": f"user{user}", "password": PASSWORD})
    answer = visitor.send("POST", path, form)
    took = (time.perf_counter() - started) * 1000
    visitor.close()
    if answer.status != 303:
        raise LoadFailed(f"POST {path} was answered with {answer.status}: {answer.body[-500:]!r}")
    return took


def _start(lab: Lab, project: environment.Project, engine: str) -> Server:
    """Start the project as its README does in production, with real Argon2."""
    port = free_port()
    store = lab.store(engine, "direct")
    accounts = Path(lab.servers.scratch) / f"accounts-{port}.db"
    python = environment.python_of(project)
    command = [str(python), "-m", project.package]
    environ = {
        "PORT": str(port),
        "COOKIE_SECRET": "only-for-the-benchmark-" + "x" * 32,
        "DATABASE_URL": f"sqlite+aiosqlite:///{accounts}",
        "REDIS_URL": f"redis://127.0.0.1:{store.port}",
        "MEMCACHED_SERVERS": f"127.0.0.1:{store.port}",
    }
    migrate = [*command, "migrate"]
    subprocess.run(
        migrate, cwd=project.path, env={**os.environ, **environ}, capture_output=True, check=True
    )
    process = lab.servers.start(command, port, cwd=project.path, **environ)
    return Server(process, port)
