"""One process of a baked app, and a visitor who speaks HTTP with it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from email.message import Message
from http.client import HTTPConnection
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlencode, urlsplit

from ..conftest import clean_environment
from ..promises.servers import HOST, free_port, wait_for

COOKIE_SECRET: Final = "only-for-tests-" + "0123456789abcdef" * 2
COOKIE: Final = "__Host-my_tornado_app"
FORM: Final = {"Content-Type": "application/x-www-form-urlencoded"}

Start = Callable[..., "App"]


class App:
    """`python -m <package>`, with what it writes to the terminal in `log`."""

    def __init__(
        self,
        project: Path,
        directory: Path,
        arguments: Iterable[str] = (),
        environment: dict[str, str] | None = None,
    ) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.port = free_port()
        self.url = f"http://localhost:{self.port}"
        self.package = project.name
        self.directory = directory
        self._log = directory / "log.txt"
        settings = {
            **clean_environment(),
            "PYTHONPATH": str(project),
            "PYTHONDONTWRITEBYTECODE": "1",
            "COOKIE_SECRET": COOKIE_SECRET,
            "SESSION_ENGINE": "memory",
            **(environment or {}),
        }
        subprocess.run(
            [sys.executable, "-m", project.name, "migrate"],
            cwd=directory,
            env=settings,
            capture_output=True,
            check=True,
        )
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", project.name, f"--port={self.port}", *arguments],
                cwd=directory,
                env=settings,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        wait_for(self._serves, "the app")

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def log(self) -> str:
        """What it has written so far."""
        return self._log.read_text(errors="replace")

    def stop(self) -> None:
        """Shut it down cleanly."""
        self._process.terminate()
        try:
            self._process.wait(15)
        finally:
            self._process.kill()
            self._process.wait()

    def _serves(self) -> bool:
        assert self._process.poll() is None, self.log
        try:
            return Visitor(self).get("/healthz").status == 200
        except OSError:
            return False


@dataclass(frozen=True)
class Answer:
    """What came back; redirects are not followed."""

    status: int
    headers: Message
    text: str

    @property
    def location(self) -> str:
        return self.headers.get("Location", "")


class Visitor:
    """Somebody with a cookie jar of their own."""

    def __init__(self, app: App) -> None:
        self.jar: dict[str, str] = {}
        self._port = app.port

    def get(self, path: str, **headers: str) -> Answer:
        return self.send("GET", path, None, headers)

    def post(self, path: str, headers: dict[str, str] | None = None, **fields: str) -> Answer:
        return self.send("POST", path, urlencode(fields).encode(), FORM | (headers or {}))

    def send(self, method: str, path: str, body: bytes | None, headers: dict[str, str]) -> Answer:
        """One request, with the cookies of the jar unless `headers` has some."""
        if self.jar:
            cookies = "; ".join(f"{name}={value}" for name, value in self.jar.items())
            headers = {"Cookie": cookies, **headers}
        connection = HTTPConnection(HOST, self._port, timeout=30)
        try:
            connection.request(method, path, body, headers)
            response = connection.getresponse()
            answer = Answer(response.status, response.headers, response.read().decode())
        finally:
            connection.close()
        for header in answer.headers.get_all("Set-Cookie", []):
            name, _, value = header.partition(";")[0].partition("=")
            if value.strip('"'):
                self.jar[name] = value
            else:
                self.jar.pop(name, None)
        return answer

    def register(self, username: str = "ada", password: str = "correct horse") -> Answer:
        return self.post("/register", username=username, password=password)

    def login(self, username: str = "ada", password: str = "correct horse", **more: Any) -> Answer:
        return self.post("/login", username=username, password=password, **more)

    @property
    def logged_in(self) -> bool:
        answer = self.get("/account")
        assert answer.status == 200 or urlsplit(answer.location).path == "/login"
        return answer.status == 200
