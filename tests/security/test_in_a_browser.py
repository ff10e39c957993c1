"""Attacks on the app, and a whole visit, in a real browser.

The app is at http://localhost:<port>, where browsers take `Secure` cookies without HTTPS.
"""

from __future__ import annotations

import html
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext

from ..promises.servers import Server, wait_for
from .chromium import OtherSite, chromium
from .process import COOKIE, App, Visitor

ONE_ENGINE = pytest.mark.parametrize("project", ["redis"], indirect=True)  # it plays no part here
PASSWORD = "correct horse"


# Of the module: playwright's loop must be gone before coroutines of other modules run.
@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as browser:
        yield browser


@pytest.fixture(scope="module")
def app(project: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[App]:
    """The app on the memory engine."""
    app = App(project, tmp_path_factory.mktemp("app"))
    yield app
    app.stop()


@pytest.fixture
def other_site() -> Iterator[OtherSite]:
    with OtherSite() as site:
        yield site


class Person:
    """Somebody at a browser of their own; what it complains about is in `complaints`."""

    def __init__(self, browser: Browser, **options: Any) -> None:
        self.context: BrowserContext = browser.new_context(**options)
        self.page = self.context.new_page()
        self.complaints: list[str] = []
        self.page.on("console", self._hear)
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("dialog", self._dismiss)

    def register(self, app: App, username: str) -> None:
        self.page.goto(f"{app.url}/register")
        self._fill(username)

    def login(self, app: App, username: str, path: str = "/login") -> None:
        self.page.goto(app.url + path)
        self._fill(username)

    def write(self, app: App, note: str) -> None:
        self.page.goto(app.url)
        self.page.fill("#text", note)
        self.page.click("main button")

    def log_out(self) -> None:
        self.page.click("nav button")

    def logged_in(self, app: App) -> bool:
        self.page.goto(f"{app.url}/account")
        return self.page.url == f"{app.url}/account"

    @property
    def cookie(self) -> Any:
        return next((c for c in self.context.cookies() if c["name"] == COOKIE), None)

    @property
    def text(self) -> str:
        return self.page.inner_text("body")

    def _fill(self, username: str) -> None:
        self.page.fill("#username", username)
        self.page.fill("#password", PASSWORD)
        self.page.click("main form button")

    def _hear(self, message: Any) -> None:
        if message.type in ("error", "warning"):
            self.complaints.append(message.text)

    def _dismiss(self, dialog: Any) -> None:
        self.complaints.append(f"dialog: {dialog.message}")
        dialog.dismiss()


@pytest.fixture
def person(browser: Browser) -> Iterator[Callable[..., Person]]:
    people: list[Person] = []

    def person(**options: Any) -> Person:
        people.append(Person(browser, **options))
        return people[-1]

    yield person
    for each in people:
        each.context.close()


MakePerson = Callable[..., Person]


def test_a_whole_visit(project: Path, store: Server, tmp_path: Path, person: MakePerson) -> None:
    app = App(project, tmp_path, environment=store.environment)
    try:
        ada, thief = person(), person()
        ada.register(app, "Ada")
        assert "Welcome, Ada! Your account is ready." in ada.text
        ada.page.reload()
        assert "Welcome" not in ada.text  # once
        ada.write(app, "a private note")
        assert "Your note is saved." in ada.text
        ada.page.reload()
        assert "Your note is saved." not in ada.text
        assert "a private note" in ada.text
        assert ada.logged_in(app)
        assert "this one" in ada.text
        old = ada.cookie
        assert (old["httpOnly"], old["secure"], old["sameSite"]) == (True, True, "Lax")
        assert ada.page.evaluate("document.cookie") == ""

        ada.log_out()
        assert "You are logged out." in ada.text
        assert ada.cookie is None
        ada.page.go_back()
        assert "Ada" not in ada.text
        ada.page.go_back()
        assert "a private note" not in ada.text

        thief.context.add_cookies([old])
        assert not thief.logged_in(app)
        ada.login(app, "ada", "/account")
        assert ada.page.url == f"{app.url}/account"
        assert "Welcome back, Ada." in ada.text
        assert ada.complaints == []
    finally:
        app.stop()
    assert "Traceback" not in app.log


@ONE_ENGINE
@pytest.mark.parametrize("planted", ["the attacker's session", "an id of the attacker's own"])
def test_15_a_planted_cookie_is_worth_nothing_after_the_login(
    app: App, person: MakePerson, planted: str
) -> None:
    attacker, victim = person(), person()
    name = f"victim of {planted}"
    Visitor(app).register(name)
    attacker.write(app, "bait")
    cookie = attacker.cookie
    if planted != "the attacker's session":
        cookie["value"] = cookie["value"].replace("60:", "60:AAAA", 1)
    victim.context.add_cookies([cookie])
    victim.login(app, name)
    assert "Welcome back" in victim.text
    assert victim.cookie["value"] != cookie["value"]
    attacker.context.add_cookies([cookie])
    assert not attacker.logged_in(app)


@ONE_ENGINE
@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"], ids=["another site", "another port"])
@pytest.mark.parametrize("how", ["form", "fetch", "sandbox"])
def test_30_posts_from_another_origin_are_refused(
    app: App, other_site: OtherSite, person: MakePerson, host: str, how: str
) -> None:
    victim = person()
    name = f"victim of {how} from {host}"
    victim.register(app, name)
    for path, fields in [
        ("/", {"text": "planted"}),
        ("/account/delete", {"password": PASSWORD}),
        ("/account", {"password": PASSWORD, "new_password": "the attacker's"}),
        ("/account/sessions/end-others", {}),
        ("/login", {"username": "mallory", "password": PASSWORD}),
        ("/register", {"username": f"mallory {how} {host}", "password": PASSWORD}),
        ("/logout", {}),
    ]:
        before = len(app.log)
        victim.page.goto(_poster(other_site, host, how, app.url + path, fields))
        answered = re.compile(rf"\b(\d+) POST {path} ")
        wait_for(lambda: answered.search(app.log, before), f"a post to {path}")  # noqa: B023
        # As the app tells it: the browser keeps most of these answers from the page.
        assert set(answered.findall(app.log[before:])) == {"403"}
    assert victim.logged_in(app)
    assert name in victim.text
    victim.page.goto(app.url)
    assert "planted" not in victim.text


def _poster(site: OtherSite, host: str, how: str, url: str, fields: dict[str, str]) -> str:
    """The address of a page on the other site that posts to `url` as soon as it is opened."""
    inputs = "".join(
        f'<input type="hidden" name="{name}" value="{html.escape(value)}">'
        for name, value in fields.items()
    )
    form = (
        f'<form method="post" action="{url}">{inputs}</form>'
        "<script>document.forms[0].submit()</script>"
    )
    fetch = (
        f"<script>fetch({url!r}, {{method: 'POST', mode: 'no-cors', credentials: 'include', "
        f"body: new URLSearchParams({fields!r})}})</script>"
    )
    sandbox = f'<iframe sandbox="allow-scripts allow-forms" srcdoc="{html.escape(form)}"></iframe>'
    return site.url({"form": form, "fetch": fetch, "sandbox": sandbox}[how], host)


SPELLINGS = [
    "http://{other}/",
    "//{other}/",
    "///{other}/",
    "////{other}/",
    "/\\{other}/",
    "\\\\{other}\\",
    "http:{other}",
    "http:/{other}",
    "/\t/{other}/",
    "/\n/{other}/",
    "\x01//{other}/",
    "/%2f{other}/",
    "/%5c{other}/",
    "/.//{other}/",
    "/x/..//{other}/",
    "javascript:location='http://{other}/'",
    "//app@{other}/",
]


@ONE_ENGINE
def test_29_no_spelling_of_next_leads_to_another_host(
    app: App, other_site: OtherSite, person: MakePerson
) -> None:
    Visitor(app).register("next")
    assert len(SPELLINGS) >= 12
    for spelling in SPELLINGS:
        target = spelling.format(other=f"127.0.0.1:{other_site.port}")
        visitor = person()
        visitor.page.goto(f"{app.url}/login")
        # As a link would bring it, and as a form that was tampered with would.
        visitor.page.evaluate("next => location.search = new URLSearchParams({next})", target)
        visitor.page.wait_for_url("**/login?next=*")
        visitor.page.evaluate("next => document.querySelector('[name=next]').value = next", target)
        visitor._fill("next")
        assert visitor.page.url == f"{app.url}/", spelling
        assert "Welcome back" in visitor.text, spelling
        visitor.context.close()


@ONE_ENGINE
@pytest.mark.parametrize("path", ["/login", "/register", "/account"])
def test_40_the_back_button_brings_no_password_after_the_logout(
    app: App, person: MakePerson, path: str
) -> None:
    ada = person()
    name = f"ada of {path}"
    Visitor(app).register(name)
    ada.login(app, name)
    fields = {"#password": PASSWORD}
    if path == "/account":
        fields["#new_password"] = fields["#delete-password"] = PASSWORD
    else:
        ada.log_out()
    ada.page.goto(app.url + path)
    for field, typed in fields.items():
        ada.page.fill(field, typed)
    if path == "/account":
        ada.log_out()
    else:
        ada.page.fill("#username", name)
        ada.page.click("main form button")
        ada.log_out()
    for _ in range(ada.page.evaluate("history.length") - 2):  # the first is about:blank
        # Not until "load": a page that the browser has kept does not load again.
        ada.page.go_back(wait_until="commit")
        while ada.page.evaluate("document.readyState") != "complete":
            ada.page.wait_for_timeout(20)  # wait_for_function needs what the CSP forbids
        values = "[...document.querySelectorAll('[type=password]')].map(field => field.value)"
        assert set(ada.page.evaluate(values)) <= {""}
        assert PASSWORD not in ada.page.content()


@ONE_ENGINE
def test_a_double_click_does_what_one_click_does(app: App, person: MakePerson) -> None:
    ada = person()
    ada.page.goto(f"{app.url}/register")
    ada.page.fill("#username", "clicks twice")
    ada.page.fill("#password", PASSWORD)
    ada.page.dblclick("main form button")
    ada.page.wait_for_url(f"{app.url}/")
    assert "Welcome, clicks twice!" in ada.text
    ada.page.fill("#text", "once")
    ada.page.dblclick("main form button")
    ada.page.wait_for_selector(".notes li")
    assert ada.page.locator(".notes li").count() == 1
    ada.page.fill("#text", "again")  # the page is a new one, and so is its form
    ada.page.click("main form button")
    ada.page.wait_for_selector(".notes li >> nth=1")
    assert ada.complaints == []


@ONE_ENGINE
def test_a_form_can_be_sent_again_when_the_first_was_stopped_or_kept(
    app: App, person: MakePerson
) -> None:
    ada = person()
    ada.page.goto(app.url)
    ada.page.clock.install()
    ada.page.evaluate(
        """() => {
          window.count = 0;
          for (const prevents of [false, true]) {
            const form = document.createElement("form");
            form.method = "post";
            form.target = prevents ? "" : "elsewhere";  // as a download, it leaves the page
            form.addEventListener("submit", (event) => {
              if (prevents) event.preventDefault();
            });
            form.append(document.createElement("button"));
            document.body.append(form);
          }
          document.body.insertAdjacentHTML("beforeend", "<iframe name=elsewhere></iframe>");
          addEventListener("submit", (event) => { window.count += !event.defaultPrevented; });
        }"""
    )
    click = "document.forms[document.forms.length - 2].querySelector('button').click()"
    ada.page.evaluate(click)
    ada.page.evaluate(click)
    assert ada.page.evaluate("window.count") == 1
    ada.page.clock.run_for(10_000)
    ada.page.evaluate(click)
    assert ada.page.evaluate("window.count") == 2
    # A script of the page sends this one, and says itself when it may be sent again.
    prevented = "document.forms[document.forms.length - 1]"
    ada.page.evaluate(f"{prevented}.querySelector('button').click()")
    assert ada.page.evaluate(f"{prevented}.getAttribute('aria-busy')") is None


@ONE_ENGINE
def test_after_an_error_the_focus_is_on_the_faulty_field(app: App, person: MakePerson) -> None:
    ada = person()
    ada.page.goto(f"{app.url}/register")
    ada.page.fill("#username", "ada focus")
    ada.page.fill("#password", "short")
    ada.page.click("main form button")
    field = ada.page.locator(":focus")
    field.wait_for()
    assert field.get_attribute("id") == "password"
    assert field.get_attribute("aria-invalid") == "true"
    ident, *_ = (field.get_attribute("aria-describedby") or "").split()
    assert "at least 8" in ada.page.inner_text(f"#{ident}")
    assert ada.page.title().startswith("Error: Register")
    ada.register(app, "ada focus")
    ada.page.goto(f"{app.url}/account")
    ada.page.fill("#delete-password", "a wrong one")
    ada.page.click("text=Delete account")
    field.wait_for()
    assert field.get_attribute("id") == "delete-password"
    assert ada.page.title().startswith("Error: Your account")


@ONE_ENGINE
def test_a_form_whose_session_is_over_is_as_it_was_after_the_login(
    app: App, person: MakePerson
) -> None:
    ada = person()
    ada.register(app, "ada returns")
    ada.page.goto(f"{app.url}/account")
    ada.page.fill("#password", PASSWORD)
    ada.page.fill("#new_password", "another horse")
    ada.context.clear_cookies()
    ada.page.click("text=Change password")
    assert ada.page.url == f"{app.url}/login?next=%2Faccount"
    ada._fill("ada returns")
    assert ada.page.url == f"{app.url}/account"
    assert PASSWORD not in ada.page.content()


@ONE_ENGINE
@pytest.mark.parametrize("megabytes", [2, 40, 100])
def test_a_browser_that_sends_too_much_gets_the_apps_own_page(
    app: App, person: MakePerson, tmp_path: Path, megabytes: int
) -> None:
    ada = person()
    ada.page.goto(app.url)
    file = tmp_path / "large"
    with file.open("wb") as large:
        large.truncate(megabytes * 1024 * 1024)
    ada.page.evaluate(
        """() => {
          const form = document.forms[document.forms.length - 1];
          form.enctype = "multipart/form-data";
          form.insertAdjacentHTML("beforeend", "<input id=file name=file type=file>");
        }"""
    )
    ada.page.set_input_files("#file", file)
    ada.page.fill("#text", "with a file")
    ada.page.click("main button")
    ada.page.wait_for_selector(".error-page")
    assert "That was too much" in ada.text
    assert "at most 1 MB" in ada.text


HOSTILE = [
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "\"><svg onload='alert(1)'>",
    "</title></style><iframe src=javascript:alert(1)>",
    "{{ 7*7 }}{% raw x %}",
]


@ONE_ENGINE
@pytest.mark.parametrize("text", HOSTILE)
def test_33_script_in_username_and_note_is_shown_as_text(
    app: App, person: MakePerson, text: str
) -> None:
    victim = person()
    victim.register(app, text)
    assert f"Welcome, {text}!" in victim.text
    victim.write(app, text)
    assert victim.page.inner_text(".notes li") == text
    for path in ("/account", "/logout", "/"):
        victim.page.goto(app.url + path)
        assert text in victim.text
    victim.page.context.clear_cookies()
    for path in ("/login", "/register"):
        victim.page.goto(app.url + path)
        victim.page.fill("#username", text)
        victim.page.fill("#password", "x")
        victim.page.click("main form button")
        assert victim.page.input_value("#username") == text
    refusals = [line for line in victim.complaints if "status of" not in line]
    assert refusals == []  # no dialog, and nothing inline that the policy had to stop


@ONE_ENGINE
def test_33_the_policy_stops_a_script_that_was_not_escaped(app: App, person: MakePerson) -> None:
    victim = person()
    victim.page.goto(app.url)
    for element in ("<img src=x onerror=alert(1)>", "<iframe srcdoc='<script>alert(1)</script>'>"):
        victim.page.evaluate("html => document.body.insertAdjacentHTML('beforeend', html)", element)
    victim.page.evaluate(
        "document.body.append(Object.assign(document.createElement('script'), {text: 'alert(1)'}))"
    )
    victim.page.wait_for_timeout(300)
    assert not any("dialog" in line for line in victim.complaints)
    assert sum("Content Security Policy" in line for line in victim.complaints) >= 3


@ONE_ENGINE
@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"], ids=["another site", "another port"])
def test_33_no_other_site_can_frame_a_page(
    app: App, other_site: OtherSite, person: MakePerson, host: str
) -> None:
    victim = person()
    victim.register(app, f"framed by {host}")
    victim.page.goto(other_site.url(f'<iframe src="{app.url}/account"></iframe>', host))
    frame = victim.page.frames[1]
    frame.wait_for_url("chrome-error:**")
    assert "Your account" not in frame.content()
    assert any("frame" in line.lower() for line in victim.complaints)


@ONE_ENGINE
@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"], ids=["another site", "another port"])
def test_30_an_image_tag_logs_nobody_out(
    app: App, other_site: OtherSite, person: MakePerson, host: str
) -> None:
    victim = person()
    victim.register(app, f"image from {host}")
    image = f'<img src="{app.url}/logout"><img src="{app.url}/logout?confirm=1">'
    victim.page.goto(other_site.url(image, host), wait_until="networkidle")
    assert victim.logged_in(app)
    victim.page.goto(other_site.url(f'<a href="{app.url}/logout">click</a>', host))
    victim.page.click("a")
    assert "Log out?" in victim.text
    assert victim.logged_in(app)


@ONE_ENGINE
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1280])
def test_pages_fit_the_screen_and_every_field_has_a_label(
    app: App, person: MakePerson, scheme: str, width: int, tmp_path: Path
) -> None:
    visitor = person(color_scheme=scheme, viewport={"width": width, "height": 740})
    page = visitor.page
    name = ("W" * 64)[: -len(f"{scheme}{width}")] + f"{scheme}{width}"

    def look(what: str) -> None:
        page.screenshot(path=tmp_path / f"{what}.png", full_page=True)
        assert page.evaluate("document.documentElement.scrollWidth") <= width, what
        unnamed = page.evaluate(
            """[...document.querySelectorAll("input:not([hidden]):not([type=hidden])")]
               .filter(field => !field.labels.length).map(field => field.outerHTML)"""
        )
        assert unnamed == [], what
        assert page.evaluate("document.querySelectorAll('h1').length") == 1, what
        tall = "[...document.querySelectorAll('button')].filter(b => b.clientHeight > 60).length"
        assert page.evaluate(tall) == 0, what  # a label that is broken into lines
        dark = page.evaluate(
            "getComputedStyle(document.documentElement).backgroundColor.match(/[0-9]+/g)[0] < 128"
        )
        assert dark is (scheme == "dark"), what

    for path in ("/", "/login", "/register", "/logout", "/nothing-here", "/account"):
        page.goto(app.url + path)
        look(f"visitor{path.replace('/', '-')}")
    page.goto(f"{app.url}/register")
    page.fill("#username", name)
    page.fill("#password", "short")
    page.click("main form button")
    look("register-refused")
    visitor.register(app, name)
    look("welcome")
    visitor.write(app, "M" * 200)
    visitor.write(app, "Buy oat milk, and call the plumber about the tap")
    look("home")
    Visitor(app).post("/login", username=name, password=PASSWORD)
    page.goto(f"{app.url}/account")
    look("account")
    page.fill("#password", "not mine")
    page.fill("#new_password", "another horse")
    page.click("text=Change password")
    look("account-refused")
    page.goto(f"{app.url}/logout")
    look("logout")
