"""Other languages: every text can be translated, is found by tools, and speaks the right one."""

from __future__ import annotations

import ast
import asyncio
import html
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import pytest
import tornado.locale
from tornado.httpclient import AsyncHTTPClient
from tornado.template import Loader

import {{cookiecutter.project_slug}}
from {{cookiecutter.project_slug}} import texts
from {{cookiecutter.project_slug}}.accounts import User
from {{cookiecutter.project_slug}}.app import App
from {{cookiecutter.project_slug}}.handlers.base import BaseHandler
from {{cookiecutter.project_slug}}.handlers.rights import require
from {{cookiecutter.project_slug}}.sessions import (
    ConfigurationError,
    StoreUnavailable,
)

from .browser import Browser, Page
from .conftest import MakeBrowser
from .examples import EXAMPLES, add, text_of
from .project_copy import Project

PACKAGE = Path({{cookiecutter.project_slug}}.__file__).parent


def marked() -> set[str]:
    """What a translator's tools find: the texts of `_` and `N_`, in modules and templates."""
    sources = [each.read_text(encoding="utf-8") for each in PACKAGE.rglob("*.py")]
    loader = Loader(str(PACKAGE / "templates"))
    sources += [loader.load(each.name).code for each in (PACKAGE / "templates").glob("*.html")]
    found = set()
    for source in sources:
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") in ("_", "N_"):
                found |= {
                    each.value
                    for each in node.args[:2]
                    if isinstance(each, ast.Constant) and isinstance(each.value, str)
                }
    return found


def test_no_text_stands_where_tools_do_not_look() -> None:
    """xgettext takes an attribute, with all that is in its quotes, for one string."""
    for template in (PACKAGE / "templates").glob("*.html"):
        text = template.read_text(encoding="utf-8")
        assert re.findall(r"""=["'][^"'=<>]*\b_\(""", text) == [], template.name


class Brackets(tornado.locale.Locale):
    """A language in which every text stands in brackets."""

    asked: ClassVar[set[str]] = set()

    def translate(
        self, message: str, plural_message: str | None = None, count: int | None = None
    ) -> str:
        chosen = plural_message if plural_message and count != 1 else message
        self.asked.add(chosen)
        return f"\u2e28{chosen}\u2e29"


@pytest.fixture
def language(monkeypatch: pytest.MonkeyPatch) -> Brackets:
    language = Brackets("xx")
    language.asked.clear()
    monkeypatch.setattr(BaseHandler, "get_user_locale", lambda _: language)
    return language


class Admins(BaseHandler):
    @require("admin")
    async def get(self) -> None:
        self.write("for admins")


def untranslated(page: Page, title: str) -> list[str]:
    """The words of a page that are in no brackets: names, numbers, and what says its language."""
    text = re.sub(r"<(style|script|code)\b.*?</\1>", "", page.text, flags=re.DOTALL)
    text = re.sub(r"<(?!html)(\w+)\s[^>]*\blang=.*?</\1>", "", text, flags=re.DOTALL)
    labels = " ".join(re.findall(r'aria-label="([^"]*)"', text))
    text = html.unescape(re.sub(r"<[^>]+>", " ", text) + labels)
    while (outer := re.sub("\u2e28[^\u2e28\u2e29]*\u2e29", "", text)) != text:
        text = outer  # one may stand in another
    return re.findall(r"[A-Za-z]{2,}", text.replace(title, ""))


NAMES = {"ada", "example", "com", "new", "UTC"}


@pytest.mark.gen_test
async def test_every_text_that_people_see_is_translated_and_found_by_tools(
    app: App, language: Brackets, make_browser: MakeBrowser
) -> None:
    app.add_handlers(".*", [("/admins", Admins)])
    browser, other = make_browser(), make_browser()
    password: dict[str, Any] = {"password": "correct horse"}
    address: dict[str, Any] = {"email": "ada@example.com"}
    pages: list[Page] = []

    async def see(path: str, who: Browser = browser, **fields: Any) -> None:
        pages.append(await (who.post(path, **fields) if fields else who.get(path)))

    for path in ("/", "/account", "/register", "/login", "/forgot", "/logout", "/confirm"):
        await see(path)
    await see("/", text="x" * 300)
    await see("/", text=" ")
    await see("/", text="1")
    await see("/register", username="", password="x", email="x")
    for name in ("a@b", "a\u200bb", "a  b", "x" * 300):
        await see("/register", username=name, password="password1", email="x" * 2000)
    await see("/register", username="ada", **address, **password)
    await see("/register", make_browser(), username="ada", password="another horse")
    await see("/register", make_browser(), username="new", **address, **password)
    await see("/login", other, username="ada", password="wrong")
    await see("/login", other, username="ada", **password)
    for path in ("/account", "/logout", "/admins"):
        await see(path)
    await see("/account", password="wrong", new_password="another horse")
    await see("/account", new_password="short", **password)
    await see("/account", new_password="another horse", **password)
    await see("/account/email", email="x", **password)
    await see("/account/email", email="new@example.com", password="another horse")
    await see("/account/sessions/end", handle="x")
    await see("/account/sessions/end-others", confirm="x")
    await see("/forgot", other, **address)
    while len(app.services.mail.outbox) < 3:
        await asyncio.sleep(0.01)
    mails = list(app.services.mail.outbox)
    token = mails[-1].text.partition("token=")[2].partition("\n")[0]
    for path in (f"/confirm?token={token}", f"/reset?token={token}"):
        await see(path, other)
    await see("/account/delete", password="wrong")
    await see("/account", make_browser(), new_password="x", **password)
    await see("/account/delete", password="another horse")
    assert {page.status for page in pages} >= {200, 403, 410, 422}
    for page in pages:
        words = untranslated(page, app.settings["app_title"])
        assert [word for word in words if word not in NAMES] == [], page.url
    for mail in mails:
        assert mail.subject.startswith("\u2e28") and mail.text.startswith("\u2e28")
    assert language.asked - marked() == set()


@pytest.mark.parametrize(
    ("name", "row", "fault"),
    [
        ("fr.csv", '"Welcome, {name}!","Bienvenue {nom}!"', "has {nom}, and the English text has"),
        ("fr.csv", '"Welcome, {name}!","Bienvenue {name!"', "has a brace without its other half"),
        ("fr.csv", '"Welcome, {name}!","Bienvenue {name.x}!"', "has {name.x}"),
        ("fr.csv", '"Welcome, {name}!","Bienvenue {name:d}!"', "has {name:d}"),
        ("fr.csv", '"Welcome!","Bienvenue {}!"', "has {}"),
        ("fr.csv", '"Log in";"Se connecter"', "has no translation"),
        ("fr.csv", '"Log in","Se connecter","many"', "ends with 'many': write singular, plural or"),
        ("fr.csv", '"Log in","Acc\u00e9der"', "is not UTF-8: save the file in that encoding"),
        ("fr.old.csv", '"Log in","Se connecter"', "is not named after a language"),
    ],
)
def test_a_translation_that_would_fail_later_is_refused_with_its_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, row: str, fault: str
) -> None:
    monkeypatch.setattr(texts, "folder", tmp_path)
    text = f'"Home","Accueil"\n"Log out","Sortir"\n{row}\n'
    (tmp_path / name).write_text(text, encoding="latin-1")
    with pytest.raises(ConfigurationError) as error:
        texts.load()
    (line,) = error.value.faults
    where = f"{tmp_path.name}/{name}"
    assert line.startswith(where if "named" in fault else f"{where}, line 3 ")
    assert fault in line


def test_a_translation_may_leave_out_placeholders_and_repeat_a_count(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(texts, "folder", tmp_path)
    rows = '"One is ended.","{count} weg","singular"\n\n"Hello, {name}","Hallo"\n"An {","Ein {"\n'
    (tmp_path / "de.csv").write_text(rows, encoding="utf-8-sig")
    texts.load()
    (tmp_path / "de.csv").unlink()
    texts.load()


# --- The recipe


@pytest.fixture
def german(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The language of docs/recipes.md."""
    text = text_of("recipes.md", f"{PACKAGE.name}/translations/de.csv")
    (tmp_path / "de.csv").write_text(text, encoding="utf-8")
    monkeypatch.setattr(texts, "folder", tmp_path)
    texts.load()
    yield
    (tmp_path / "de.csv").unlink()
    texts.load()


@pytest.mark.usefixtures("german")
@pytest.mark.gen_test
async def test_a_browser_is_answered_in_its_language(make_browser: MakeBrowser) -> None:
    for asked, language, words in [
        ("de-AT,de;q=0.9,en;q=0.5", "de", "Anmelden"),
        ("en-US", "en", "Log in"),
        ("fr", "en", "Log in"),
        ("\u00e9;q=x", "en", "Log in"),
    ]:
        page = await make_browser(headers={"Accept-Language": asked}).get("/login")
        assert f'<html lang="{language}">' in page.text
        assert words in page.plain


@pytest.mark.usefixtures("german")
@pytest.mark.gen_test
async def test_the_language_that_somebody_chose_is_that_of_every_page_even_without_the_store(
    app: App, make_browser: MakeBrowser, monkeypatch: pytest.MonkeyPatch
) -> None:
    add(app, "LanguageHandler")
    browser = make_browser(headers={"Accept-Language": "en"})
    await browser.register()
    assert "Log out" in (await browser.post("/language", language="fr")).plain  # not one of ours
    on_the_page = {"Referer": "http://localhost/account"}
    page = await browser.post("/language", headers=on_the_page, language="de")
    assert page.url == "/account"
    await make_browser().login()
    await make_browser().login()
    page = await browser.post("/account/sessions/end-others")
    assert page.flashes == [("success", "2 andere Sitzungen sind beendet.")]
    chosen = browser.cookies.pop("language")  # the session knows it, too
    assert '<html lang="de">' in (await browser.get("/")).text
    browser.cookies["language"] = chosen
    for path in ("/nothing", "/static/nothing", "/login/x"):
        assert '<html lang="de">' in (await browser.get(path)).text

    async def away(*_: Any, **__: Any) -> None:
        raise StoreUnavailable("nowhere", "it is away")

    monkeypatch.setattr(app.services.store.sessions, "load", away)
    page = await browser.get("/")
    assert (page.status, page.text.count("Einen Moment, bitte")) == (503, 2)
    for cookie in ("", "language=xx", "language=../../etc", 'language="'):
        name = browser.session_cookie
        assert name is not None
        headers = {"Cookie": f"{name.name}={name.value}; {cookie}"}
        page = await browser.get("/", headers=headers)
        assert (page.status, "One moment, please" in page.plain) == (503, True)


@pytest.fixture
def with_accounts(tmp_path: Path, empty_database: Path) -> Iterator[tuple[Project, str]]:
    """A copy of the project that keeps the language with the account, and its address."""
    if hasattr(User, "language"):
        pytest.skip("this project has the column")
    project = Project(tmp_path / "copy", empty_database)
    (project.folder / PACKAGE.name / "translations").mkdir(exist_ok=True)
    german = f"{PACKAGE.name}/translations/de.csv"
    (project.folder / german).write_text(text_of("recipes.md", german), encoding="utf-8")
    project.add_page("language", EXAMPLES["LanguageHandler"])
    project.insert(
        "accounts.py",
        '__tablename__ = "users"\n',
        text_of("recipes.md", "To keep it with the account"),
    )
    imports = text_of("recipes.md", "import in `language.py`")
    project.insert("handlers/language.py", "from .. import texts\n", imports)
    for file, line in [
        ("handlers/language.py", 'self.session["language"] = language.code'),
        ("handlers/auth.py", 'self.session["user_id"] = user.id'),
    ]:
        project.insert(file, f"{line}\n", text_of("recipes.md", f"below `{line}`"))
    project.make_migration("Users have a language")
    process, url = project.serve()
    yield project, url
    process.kill()


@pytest.mark.gen_test
async def test_the_language_is_kept_with_the_account_and_a_visitors_where_it_has_none(
    with_accounts: tuple[Project, str], http_client: AsyncHTTPClient
) -> None:
    project, url = with_accounts

    async def language(browser: Browser) -> str:
        browser.cookies.pop("language", None)
        (found,) = re.findall('<html lang="(.*?)"', (await browser.get("/")).text)
        return str(found)

    ada, elsewhere, eve = (
        Browser(http_client, url, headers={"Accept-Language": "en"}) for _ in range(3)
    )
    account: dict[str, Any] = {"password": "correct horse", "email": "ada@example.com"}
    await ada.post("/register", username="ada", **account)
    await ada.post("/language", language="de")
    assert project.sql("SELECT username, language FROM users") == [("ada", "de")]
    await elsewhere.post("/language", language="en")
    await elsewhere.login("ada")
    assert await language(elsewhere) == "de"
    await eve.post("/language", language="de")
    await eve.post("/register", username="eve", **{**account, "email": "eve@example.com"})
    assert await language(eve) == "de"


@pytest.mark.usefixtures("german")
@pytest.mark.gen_test
async def test_a_message_is_in_the_language_of_who_reads_the_page(
    app: App, make_browser: MakeBrowser
) -> None:
    german, other = make_browser(headers={"Accept-Language": "de"}), make_browser()
    await german.register()
    await german.post("/logout")
    assert (await german.login()).flashes == [("success", "Willkommen zur\u00fcck, ada.")]
    assert (await other.login()).flashes == [("success", "Welcome back, ada.")]
