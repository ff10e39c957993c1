"""The variables that the app reads: those of its process, and below them those of the file `.env`.

`__main__` calls `read_environment`. A shell (`. ./.env`), `docker compose` (env_file) and systemd
(EnvironmentFile) read the same file, each by rules of its own: a line that they would not all
understand alike is refused.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from pathlib import Path

from dotenv import dotenv_values

from .sessions import ConfigurationError

BOOLEANS = {
    **dict.fromkeys(("true", "t", "1", "yes", "on"), True),
    **dict.fromkeys(("false", "f", "0", "no", "off"), False),
}

# NAME=value as every reader understands it. Nothing is expanded or escaped, and a comment has a line
# of its own: systemd would take one behind a value as part of it.
_LINE = re.compile(
    r"""[ \t]* (\#.*)? | [A-Za-z_][A-Za-z0-9_]*= (
        [^\s'"`$\\&;|<>()\#~!{}]* | '[^'\\]*' | "[^"`$\\!]*"
    ) [ \t]*""",
    re.VERBOSE,
)

log = logging.getLogger(__name__)


def read_environment(environ: Mapping[str, str], file: Path = Path(".env")) -> dict[str, str]:
    """Return `environ`, and from `file` what it lacks. An empty variable counts as absent.

    Raises ConfigurationError with one sentence for each line of the file that is unclear.
    """
    given = {name: value for name, value in environ.items() if value.strip()}
    if given.get("DEBUG", "true").strip().lower() not in BOOLEANS:
        # Other programs read a variable of this name: DEBUG=* is for packages of Node.js.
        log.warning(
            "DEBUG=%s in the environment is neither true nor false: ignored, it seems to be meant "
            "for another program",
            given.pop("DEBUG"),
        )
    return _read(file) | given


def _read(file: Path) -> dict[str, str]:
    try:
        # This takes Windows's byte order mark and line ends away.
        lines = file.read_text(encoding="utf-8-sig").split("\n")
    except FileNotFoundError:
        return {}
    except PermissionError:
        # systemd reads its EnvironmentFile as root, and hands it to an app that cannot.
        log.warning("%s cannot be read by this user: going by the environment alone", file)
        return {}
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError([f"{file} cannot be read: {error}"]) from None
    faults = [
        # Without the line itself, which may hold a secret.
        f"{file}, line {number} is unclear: write NAME=value without spaces around it; put a value "
        "that has spaces or any of &;|<>()#~!{}$ in single quotes, and a comment on its own line"
        for number, line in enumerate(lines, 1)
        if not _LINE.fullmatch(line)
    ]
    if faults:
        raise ConfigurationError(faults)
    values = dotenv_values(file, interpolate=False, encoding="utf-8-sig")
    return {name: value for name, value in values.items() if value}
