"""A record that the store evicts, or lets expire, during a request does not come back in part."""

from __future__ import annotations

import pytest

from {{cookiecutter.project_slug}}.sessions import Store

from .acts import Act, act
from .conftest import MakeBrowser, Script, run

pytestmark = pytest.mark.gen_test

USES: dict[str, tuple[Act, int]] = {
    # what the handler does when its record is gone, and the status of a POST
    "set": (lambda handler: handler.session.set("visits", 2), 409),
    "modify": (lambda handler: handler.session.modify("visits", lambda n: n + 1, 0), 409),
    "modify a new name": (lambda handler: handler.session.modify("new", lambda n: n + 1, 0), 409),
    "add": (lambda handler: handler.notifications.add("hello"), 409),
    "take": (lambda handler: handler.notifications.take(), 200),
    "regenerate": (lambda handler: handler.session.regenerate(), 200),
    "destroy": (lambda handler: handler.session.destroy(), 200),
    "read": (lambda handler: handler.session.get("visits"), 200),
}


@pytest.mark.parametrize("use", USES)
async def test_a_session_that_is_gone_stays_gone(
    store: Store, make_browser: MakeBrowser, use: str
) -> None:
    does, status = USES[use]
    keys: list[str] = []

    async def gone_before(handler: Script) -> None:
        keys.append(store.key("session", str(handler.session.id)))
        found = await store.sessions.load(keys[0])
        assert found is not None
        await store.sessions.write(keys[0], dict.fromkeys(found.fields), 1, create=False)
        await act(does, handler)

    def begin(handler: Script) -> None:
        handler.session["visits"] = 1
        handler.notifications.add("waiting")

    browser = make_browser()
    await run(browser, begin)
    page = await run(browser, gone_before, "POST")
    assert page.status == status
    assert not [cookie for cookie in page.set_cookies if cookie.value]
    found = await store.sessions.load(keys[0])
    assert found is None or found.fields == {}
