"""What error pages say. Write your own words into `ERROR_PAGES`."""

from __future__ import annotations

import math

from tornado.web import HTTPError

from ..texts import N_, _

ERROR_PAGES = {
    400: (
        N_("That request made no sense"),
        N_("Something in it was malformed. Go back and try again."),
    ),
    401: (N_("You are not logged in"), N_("Log in, then try again.")),
    403: (
        N_("You may not do that"),
        N_("You are not logged in, or the request came from another site. Open the page again."),
    ),
    404: (N_("There is no such page"), N_("The address may be mistyped, or the page is gone.")),
    405: (N_("Not like that"), N_("This address exists, but it cannot be used in this way.")),
    409: (
        N_("This page is out of date"),
        N_(
            "Your session has ended since, or you have logged in or out in another tab. Open the page "
            "again, and look whether what you sent has arrived before you send it again."
        ),
    ),
    413: (N_("That was too much"), N_("Send less at once.")),
    421: (
        N_("This is another site's address"),
        N_("It leads here by mistake. Look at the address again."),
    ),
    429: (N_("Please slow down"), N_("There were too many attempts. Wait {wait}, then try again.")),
    500: (
        N_("Something went wrong"),
        N_("It is not your fault, and it has been noted. Try again in a moment."),
    ),
    503: (
        N_("One moment, please"),
        N_(
            "A part of the site does not answer. If you sent something, look whether it has arrived "
            "before you send it again."
        ),
    ),
}

# What was typed stands on these, to be copied or sent again.
KEEPS_WHAT_WAS_TYPED = (409, 429, 500, 503)


class TooLarge(HTTPError):
    """A body is larger than its handler takes. Left alone it becomes a 413."""

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        super().__init__(413, "the body is larger than %d bytes", max_bytes)


def time_in_words(seconds: int | None) -> str:
    """A waiting time as people say it.

    >>> time_in_words(42), time_in_words(61), time_in_words(1)
    ('42 seconds', '2 minutes', '1 second')
    """
    if seconds is None:
        return _("a moment")
    if seconds > 60:
        return _("{count} minutes", count=math.ceil(seconds / 60))
    return _("{count} second", "{count} seconds", seconds)


def size_in_words(count: int) -> str:
    """A number of bytes as people say it.

    >>> size_in_words(20 * 1024 * 1024), size_in_words(1536), size_in_words(1)
    ('20 MB', '1.5 kB', '1 byte')
    """
    for unit, size in (("MB", 1024 * 1024), ("kB", 1024)):
        if count >= size:
            return f"{round(count / size, 1):g} {unit}"
    return _("{count} byte", "{count} bytes", count)
