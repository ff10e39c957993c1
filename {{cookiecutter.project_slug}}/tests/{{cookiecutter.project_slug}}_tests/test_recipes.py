"""The recipes of docs/recipes.md, run as they stand."""

from __future__ import annotations

import asyncio
import hashlib
import json
import re
import time
from base64 import urlsafe_b64encode
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import IO, Any
from urllib.parse import parse_qs, urlsplit

import pytest
from sqlalchemy import update
from tornado.httpclient import AsyncHTTPClient, HTTPRequest
from tornado.httpserver import HTTPServer
from tornado.ioloop import IOLoop
from tornado.iostream import IOStream
from tornado.tcpclient import TCPClient
from tornado.testing import bind_unused_port
from tornado.web import Application, RequestHandler

from {{cookiecutter.project_slug}}.accounts import User, max_role_characters
from {{cookiecutter.project_slug}}.app import App, make_app
from {{cookiecutter.project_slug}}.proxies import make_server
from {{cookiecutter.project_slug}}.settings import Settings, read_settings

from .browser import Browser, Page
from .conftest import MakeBrowser
from .examples import EXAMPLES, add, add_template, run, text_of
from .project_copy import Project

PAGE = "recipes.md"


def test_no_recipe_needs_a_private_name() -> None:
    for name, code in EXAMPLES.items():
        assert re.findall(r"(?:\.|import )_[a-z]\w*", code) == [], name


@pytest.mark.gen_test
async def test_the_page_for_admins_changes_roles(
    app: App, make_browser: MakeBrowser, tmp_path: Path
) -> None:
    add(app, "UsersHandler")
    add_template(app, PAGE, "users.html", tmp_path / "templates")
    eve = await app.services.accounts.register("eve <b>", "correct horse")
    await app.services.accounts.register("root", "correct horse", role="admin")
    admin, browser = make_browser(), make_browser()
    assert (await admin.login("root")).status == 200
    assert "Role of eve <b>" in (await admin.get("/users")).plain
    await browser.login("eve <b>")
    assert (await browser.get("/users")).status == 403
    page = await admin.post("/users", user_id=eve.id, role="admin")
    assert page.flashes == [("success", "The role is changed, in open sessions too.")]
    assert (await browser.get("/users")).status == 200
    page = await admin.post("/users", user_id=eve.id, role="x" * (max_role_characters + 1))
    assert page.flashes == [("error", "Use a role of at most 20 letters and digits.")]
    page = await admin.post("/users", user_id="nobody", role="admin")
    assert page.flashes == [("error", "This user is gone.")]


@pytest.mark.gen_test
async def test_the_json_api_answers_in_json_whatever_happens(
    app: App, browser: Browser, http_client: AsyncHTTPClient, base_url: str
) -> None:
    add(app, "JsonHandler")

    async def send(
        method: str, path: str, body: str | bytes | None, **headers: str
    ) -> tuple[int, Any]:
        cookie = browser.session_cookie
        sent = {"Cookie": f"{cookie.name}={cookie.value}"} if cookie else {}
        request = HTTPRequest(base_url + path, method, sent | headers, body)
        answer = await http_client.fetch(request, raise_error=False)
        assert answer.headers["Content-Type"].startswith("application/json")
        return answer.code, json.loads(answer.body)

    status, error = await send("GET", "/api/notes", None)
    assert (status, error["error"]) == (401, "You are not logged in")
    await browser.register()
    assert await send("POST", "/api/notes", '{"text": "tea"}') == (201, {"notes": ["tea"]})
    assert await send("GET", "/api/notes", None) == (200, {"notes": ["tea"]})
    bodies: list[str | bytes] = ['{"text": 1}', "{", "text=tea", "{}", '{"x": ' + "[" * 3000]
    for body in (*bodies, '{"text": "\u00e9\\n<", "stars": "\u00e9"}', b'{"text": "\xff"}'):
        status, error = await send("POST", "/api/notes", body)
        assert status == 422 and error["error"]
    assert (await send("DELETE", "/api/notes", None))[0] == 405
    assert (await send("GET", "/api/nothing", None))[0] == 404
    site = {"Origin": "https://evil.example", "Sec-Fetch-Site": "cross-site"}
    assert (await send("POST", "/api/notes", '{"text": "x"}', **site))[0] == 403
    assert await send("GET", "/api/notes", None) == (200, {"notes": ["tea"]})


class Upload:
    """An upload that the test sends piece by piece."""

    piece = bytes(range(256)) * 4096  # 1 MB

    def __init__(self, stream: IOStream) -> None:
        self.stream = stream

    @classmethod
    async def begin(cls, browser: Browser, header: str) -> Upload:
        host, port = browser.base_url.removeprefix("http://").split(":")
        stream = await TCPClient().connect(host, int(port))
        cookie = browser.session_cookie
        sent = f"Cookie: {cookie.name}={cookie.value}\r\n" if cookie else ""
        head = f"PUT /upload/file HTTP/1.1\r\nHost: {host}:{port}\r\n{sent}{header}\r\n\r\n"
        await stream.write(head.encode())
        return cls(stream)

    async def send(self, pieces: int) -> None:
        for _ in range(pieces):
            await self.stream.write(self.piece)

    async def answer(self) -> tuple[int, bytes]:
        """Return status and body."""
        head = await self.stream.read_until(b"\r\n\r\n")
        length = int(re.findall(rb"Content-Length: (\d+)", head)[0])
        return int(head.split()[1]), await self.stream.read_bytes(length)


@pytest.mark.gen_test
async def test_an_upload_of_20_mb_is_streamed_to_a_file(
    app: App, browser: Browser, tmp_path: Path
) -> None:
    recipe: Any = add(app, "UploadHandler")
    add_template(app, PAGE, "upload.html", tmp_path / "templates")
    recipe.folder = tmp_path / "uploads"
    files: list[IO[bytes]] = []
    temporary = recipe.TemporaryFile

    def watched() -> IO[bytes]:
        files.append(temporary())
        return files[-1]

    recipe.TemporaryFile = watched
    size = f"Content-Length: {20 * len(Upload.piece)}"
    refused = await Upload.begin(browser, size)
    assert (await refused.answer())[0] == 403
    files.clear()  # the answer came before the body was sent
    await browser.register()
    assert "upload.js" in (await browser.get("/upload")).text
    upload = await Upload.begin(browser, size)
    await upload.send(10)
    while not files or files[0].tell() < 10 * len(Upload.piece):  # it is written as it comes
        await asyncio.sleep(0.01)
    await upload.send(10)
    status, body = await upload.answer()
    assert (status, (recipe.folder / json.loads(body)["name"]).read_bytes()) == (
        200,
        20 * Upload.piece,
    )
    assert ("success", "Your file is here.") in (await browser.get("/")).flashes

    endless = await Upload.begin(browser, "Transfer-Encoding: chunked")
    await endless.stream.write(b"1500000\r\n")
    await endless.send(21)
    await endless.stream.write(b"\r\n0\r\n\r\n")
    assert (await endless.answer())[0] == 413
    assert len(list(recipe.folder.iterdir())) == 1


@pytest.mark.gen_test
async def test_the_cart_loses_nothing_and_goes_along_to_the_login(
    app: App, make_browser: MakeBrowser
) -> None:
    add(app, "CartHandler")
    browser = make_browser()
    await browser.post("/cart", item="tea")
    await asyncio.gather(*(browser.post("/cart", item=item) for item in 5 * ["tea", "milk"]))
    await browser.register()
    assert json.loads((await browser.get("/cart")).text) == {"cart": {"tea": 6, "milk": 5}}


@pytest.mark.gen_test
async def test_the_job_tells_the_user_in_every_session(app: App, make_browser: MakeBrowser) -> None:
    add(app, "ExportHandler")
    desk, phone = make_browser(), make_browser()
    await desk.register()
    await phone.login()
    page = await desk.post("/export")
    assert ("info", "Your export is being made.") in page.flashes
    for browser in (desk, phone):
        seen = page.flashes if browser is desk else []
        while ("success", "Your export is ready.") not in seen:
            seen = (await browser.get("/")).flashes


@pytest.mark.gen_test
async def test_the_job_that_comes_again_deletes_who_never_logged_in(app: App) -> None:
    recipe = run("forget_who_never_came_back")
    accounts = app.services.accounts
    old, new = await accounts.register("old"), await accounts.register("new")
    async with app.services.database.session() as db:
        ago = recipe.datetime.now(recipe.UTC) - recipe.timedelta(days=366)
        await db.execute(update(User).where(User.id == old.id).values(created_at=ago))
        await db.commit()
    app.background(lambda: recipe.forget_who_never_came_back(app))
    while await accounts.find(old.id) is not None:
        await asyncio.sleep(0.01)
    assert await accounts.find(new.id) is not None


@pytest.mark.gen_test
async def test_who_is_invited_chooses_a_password(
    app: App, make_browser: MakeBrowser, tmp_path: Path
) -> None:
    add(app, "InviteHandler")
    add(app, "UsersHandler")
    add_template(app, PAGE, "users.html", tmp_path / "templates")
    await app.services.accounts.register("root", "correct horse", role="admin")
    admin, browser = make_browser(), make_browser()
    await admin.login("root")
    page = await admin.post("/invite", username="ada", email="ada@")
    assert page.flashes[-1][0] == "error"
    page = await admin.post("/invite", username="ada", email="Ada@example.com")
    assert page.flashes[-1] == ("success", "ada is invited.")
    (mail,) = app.services.mail.outbox
    token = mail.text.partition("token=")[2].strip()
    page = await browser.post("/reset", token=token, new_password="correct horse")
    assert page.url == "/login"
    assert (await browser.login("ada@example.com")).status == 200


# --- Login with Google


class Provider:
    """A provider of OpenID Connect, as strict as Google, on a port of its own."""

    def __init__(self) -> None:
        self.codes: dict[str, dict[str, Any]] = {}
        self.claims: dict[str, Any] = {}
        """What the ID token says beside, or instead of, what is right."""
        socket, port = bind_unused_port()
        self.url = f"http://localhost:{port}"
        self.server = HTTPServer(Application([("/token", self.Token, {"provider": self})]))
        self.server.add_socket(socket)

    def approve(self, question: dict[str, str]) -> str:
        """Say yes in the place of a person; returns a code."""
        assert question["response_type"] == "code"
        assert question["code_challenge_method"] == "S256"
        self.codes[code := f"code-{len(self.codes)}"] = {**question, **self.claims}
        return code

    class Token(RequestHandler):
        def initialize(self, provider: Provider) -> None:
            self.provider = provider

        def post(self) -> None:
            code = self.provider.codes.pop(self.get_body_argument("code"), None)
            digest = hashlib.sha256(self.get_body_argument("code_verifier").encode()).digest()
            challenge = urlsafe_b64encode(digest).decode().rstrip("=")
            expected = ["authorization_code", "the-app", "its-secret"]
            names = ("grant_type", "client_id", "client_secret")
            if (
                code is None
                or [self.get_body_argument(name) for name in names] != expected
                or self.get_body_argument("redirect_uri") != code["redirect_uri"]
                or challenge != code["code_challenge"]
            ):
                self.set_status(400)
                self.write({"error": "invalid_grant"})
                return
            claims = {
                "iss": self.provider.url,
                "aud": code["client_id"],
                "sub": "1234",
                "email": "Ada@example.com",
                "email_verified": True,
                "exp": time.time() + 60,
                **code,
            }
            payload = urlsafe_b64encode(json.dumps(claims).encode()).decode().rstrip("=")
            self.write({"id_token": f"e30.{payload}.c2lnbmVk"})


@pytest.fixture
def provider(io_loop: IOLoop) -> Iterator[Provider]:
    async def make() -> Provider:
        return Provider()

    provider = io_loop.run_sync(make)
    assert provider is not None
    yield provider
    provider.server.stop()
    io_loop.run_sync(provider.server.close_all_connections)


@pytest.fixture
def site(tmp_path: Path, empty_database: Path, provider: Provider) -> Iterator[str]:
    """The address of a copy of the project that the recipe was followed in."""
    if hasattr(User, "google_id"):
        pytest.skip("this project has followed the recipe")
    project = Project(tmp_path / "copy", empty_database)
    recipe = EXAMPLES["GoogleHandler"]
    for name, address in (("AUTHORIZE", "/authorize"), ("EXCHANGE", "/token"), ("ISSUER", "")):
        recipe = re.sub(
            rf'^{name} = ".*"$', f'{name} = "{provider.url}{address}"', recipe, flags=re.M
        )
    project.add_page("google", recipe)
    project.insert("accounts.py", '__tablename__ = "users"\n', EXAMPLES["google_id"])
    project.insert("settings.py", "    debug: bool = False\n", EXAMPLES["google_client_id"])
    project.insert("settings.py", "OPTIONS = (\n", text_of(PAGE, "and to `OPTIONS`"))
    project.make_migration("Users from Google")
    process, url = project.serve(GOOGLE_CLIENT_ID="the-app", GOOGLE_CLIENT_SECRET="its-secret")
    yield url
    process.kill()


async def ask(browser: Browser, path: str = "/login/google") -> dict[str, str]:
    """Begin the login; returns what the provider is asked."""
    answer = await browser.get(path, follow=False)
    assert answer.status == 302
    return {name: each[0] for name, each in parse_qs(urlsplit(answer.location).query).items()}


async def come_back(browser: Browser, question: dict[str, str], code: str) -> Page:
    answer = await browser.get(
        f"/login/google/done?code={code}&state={question['state']}", follow=False
    )
    return answer if answer.status != 302 else await browser.get(answer.location)


@pytest.mark.gen_test
async def test_google_says_who_somebody_is(
    site: str, provider: Provider, http_client: AsyncHTTPClient
) -> None:
    browser, other, thief = (Browser(http_client, site) for _ in range(3))

    # An account is made, without a password, and found again.
    question = await ask(browser, "/login/google?next=/account")
    assert question["redirect_uri"] == f"{site}/login/google/done"
    page = await come_back(browser, question, provider.approve(question))
    assert page.url == "/account"
    (name,) = re.findall(r"ada-\w{6}", page.flashes[0][1].lower())
    assert "ada@example.com \u00b7 confirmed" in page.plain
    question = await ask(other)
    await come_back(other, question, provider.approve(question))
    assert name in (await other.get("/account")).plain.lower()

    # An answer is good once, for who has asked.
    question = await ask(other)
    code = provider.approve(question)
    assert (await come_back(thief, question, code)).status == 400
    question = await ask(thief)
    assert (await come_back(thief, {**question, "state": "x"}, code)).status == 400
    assert (await come_back(thief, question, code)).status == 400
    question = await ask(thief)
    page = await come_back(thief, question, code)  # another's: its verifier does not fit
    assert (page.url, page.flashes[0][0]) == ("/login", "error")

    # Nor does a token that is somebody else's, old, or for another app log in.
    claims: dict[str, Any]
    for claims in ({"nonce": "x"}, {"aud": "x"}, {"iss": "x"}, {"exp": time.time() - 1}):
        provider.claims = claims
        question = await ask(thief)
        assert (await come_back(thief, question, provider.approve(question))).status == 400
    for claims in ({"sub": "5", "email_verified": False}, {"sub": "5"}):
        provider.claims = claims
        question = await ask(thief)
        page = await come_back(thief, question, provider.approve(question))
        assert (page.url, page.flashes[0][0]) == ("/login", "error")
    assert "log in with its password" in page.plain
    assert (await thief.get("/account")).url.startswith("/login")


# --- Behind a proxy


@pytest.mark.gen_test
async def test_behind_the_proxy_of_the_recipe_the_app_knows_host_and_visitor(
    settings: Settings, http_client: AsyncHTTPClient
) -> None:
    environ = dict(line.split("=", 1) for line in text_of(PAGE, ".env").splitlines())
    read = read_settings(["app"], {**environ, "COOKIE_SECRET": str(settings.cookie_secret)})
    settings = replace(
        settings,
        base_url=read.base_url,
        allowed_hosts=read.allowed_hosts,
        trusted_proxies=read.trusted_proxies,
    )
    app = make_app(settings)
    await app.start()
    socket, port = bind_unused_port()
    server = make_server(app, settings.trusted_proxies)
    server.add_socket(socket)

    # As the nginx of the recipe sends it: the visitor had a header of its own.
    sent = re.findall(r"proxy_set_header (\S+)", text_of(PAGE, "For nginx"))
    assert sent == ["Host", "X-Forwarded-For", "X-Forwarded-Proto"]
    headers = {"X-Forwarded-For": "198.51.100.9, 203.0.113.7", "X-Forwarded-Proto": "https"}
    browser = Browser(http_client, f"http://localhost:{port}", headers=headers)
    for host, status in [
        ("www.example.com", 200),
        ("shop.example.com", 200),
        ("example.com", 200),
        ("example.com.evil.example", 421),
        ("app.internal:8888", 421),
    ]:
        page = await browser.get("/login", headers={"Host": host})
        assert page.status == status, host
    fields: dict[str, Any] = {"username": "ada", "email": "ada@example.com"}
    site = {"Host": "shop.example.com"}
    page = await browser.post("/register", headers=site, password="correct horse", **fields)
    assert "203.0.113.7" in (await browser.get("/account", headers=site)).plain
    (mail,) = app.services.mail.outbox
    assert "https://www.example.com/confirm?token=" in mail.text
    server.stop()
    await server.close_all_connections()
    await app.close()
