"""The Content-Security-Policy: what a page may load and run, and where from.

Only what is the app's own; CSP_SOURCES adds other sites.
"""

from __future__ import annotations

import re

# No 'unsafe-inline': should a page ever fail to escape what somebody wrote, the browser still runs
# none of it.
_OWN = {
    "default-src": "'self'",
    "base-uri": "'none'",
    "form-action": "'self'",
    "frame-ancestors": "'none'",
    "object-src": "'none'",
}
_CAN_HAVE_MORE = (
    "connect-src",
    "font-src",
    "form-action",
    "frame-src",
    "img-src",
    "media-src",
    "script-src",
    "style-src",
    "worker-src",
)
_SITE = re.compile(r"(https|wss)://(\*\.)?[\w.-]+(:\d+)?(/[\w./-]*)?")
_INLINE = ("blob:", "data:")
_INLINE_IS_HARMLESS = ("font-src", "img-src", "media-src")


def content_security_policy(sources: str) -> str:
    """Return the header, with `sources` as in `img-src https://images.example.com data:;
    script-src https://cdn.example.com`. Raises ValueError.
    """
    policy = dict(_OWN)
    for part in filter(None, map(str.strip, sources.split(";"))):
        kind, *sites = part.split()
        if kind not in _CAN_HAVE_MORE:
            raise ValueError(f"{kind!r} cannot be added to; write {', '.join(_CAN_HAVE_MORE)}")
        for site in sites:
            is_harmless = site in _INLINE and kind in _INLINE_IS_HARMLESS
            if not is_harmless and not _SITE.fullmatch(site):
                raise ValueError(
                    f"{site!r} is no site; write {kind} https://www.example.com, and what is inline "
                    "into a file of static/"
                )
        policy[kind] = " ".join([policy.get(kind, "'self'"), *sites])
    return "; ".join(f"{kind} {sites}" for kind, sites in policy.items())
