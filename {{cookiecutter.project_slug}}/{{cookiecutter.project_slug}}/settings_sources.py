"""Where settings come from: the environment, files that it names, a config file, and flags.

settings.py has the table of what can be set, and asks a `Reader`.
"""

from __future__ import annotations

import difflib
import logging
import runpy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tornado.options import Error, OptionParser

from .environment import BOOLEANS

_NUMBERS = {int: "a whole number; write digits only", float: "a number; write digits"}

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Option:
    """A setting that people can give; the field of the same name has the default."""

    name: str
    type: type
    help: str
    convert: Callable[[str], Any] | None = None
    """Makes the field's value of the text. Raises ValueError."""
    is_secret: bool = False
    """Whether the variable NAME_FILE can name a file that holds the value."""

    @property
    def both_names(self) -> str:
        return f"{self.name.upper()} (--{self.name.replace('_', '-')})"


class Reader:
    """Reads options from all sources, the strongest last, and collects what is wrong in `faults`."""

    def __init__(self, options: Sequence[Option], defaults: type) -> None:
        self.faults: list[str] = []
        self._options = {option.name: option for option in options}
        # A parser of our own: tornado.options.options is global and can be defined only once.
        self._parser = OptionParser()
        for option in options:
            default = getattr(defaults, option.name, None)
            shown = ",".join(default) if isinstance(default, tuple) else default
            about = f"{option.help} [{option.name.upper()}]"
            if shown not in (None, ""):
                about += f" (default {shown})"
            self._parser.define(option.name, type=option.type, help=about, group="settings")

    def read(self, arguments: Sequence[str], environ: Mapping[str, str]) -> dict[str, Any]:
        """Return the given values by name. `--help` exits."""
        self._warn_of_neighbours(environ)
        for option in self._options.values():
            # CONFIG means the kind of build to many a tool: the path of a file is a flag alone.
            if option.name != "config" and (text := self._from_environment(option, environ)):
                self._set(option, text)
        for argument in arguments:
            if _name(argument) == "config" and (path := argument.partition("=")[2]):
                self._read_config(path)
        for argument in arguments:
            self._read_argument(argument)
        given = {name: self._parser[name] for name in self._options if name != "config"}
        return {name: value for name, value in given.items() if value is not None}

    def _from_environment(self, option: Option, environ: Mapping[str, str]) -> str:
        name = option.name.upper()
        text, path = environ.get(name, "").strip(), environ.get(f"{name}_FILE", "").strip()
        if not option.is_secret or not path:
            return text
        if text:
            self.faults.append(f"{name} and {name}_FILE are both given: keep one")
            return text
        try:
            text = Path(path).read_text(encoding="utf-8-sig").strip()
        except OSError as error:
            self.faults.append(f"{name}_FILE: {path} cannot be read ({error.strerror})")
        except ValueError:  # without its text, which may hold a part of the secret
            self.faults.append(f"{name}_FILE: {path} is no text; write the value alone, as UTF-8")
        else:
            if not text:
                self.faults.append(f"{name}_FILE: {path} is empty; write the value into it")
        return text

    def _warn_of_neighbours(self, environ: Mapping[str, str]) -> None:
        """A variable that is misspelt would have no effect, and nobody would know."""
        names = {option.name.upper() for option in self._options.values()}
        names |= {
            f"{option.name.upper()}_FILE" for option in self._options.values() if option.is_secret
        }
        for name in environ:
            near = difflib.get_close_matches(name, names, n=1, cutoff=0.85)
            if near and name not in names:
                log.warning("%s has no effect: did you mean %s?", name, near[0])

    def _read_config(self, path: str) -> None:
        both = self._options["config"].both_names
        try:
            self._parser.parse_config_file(path, final=False)
            values = runpy.run_path(path)
            for option in self._options.values():
                if option.type is bool and isinstance(value := values.get(option.name), str):
                    self._set(option, value)
        except OSError as error:
            self.faults.append(f"{both}: {path} cannot be read ({error.strerror})")
        except Exception as error:  # the file is a program, and can fail in any way
            self.faults.append(f"{both}: {path} failed: {type(error).__name__}: {error}")

    def _read_argument(self, argument: str) -> None:
        name, has_value = _name(argument), "=" in argument
        if argument.startswith("-") and name in ("help", "h"):
            self._parser.parse_command_line(["", "--help"])  # prints and exits
        option = self._options.get(name)
        if not argument.startswith("-"):
            self.faults.append(f"{argument!r} is no option: options have the form --port=8888")
        elif option is None:
            near = difflib.get_close_matches(name, self._options, n=1)
            hint = f"did you mean --{near[0].replace('_', '-')}?" if near else "--help lists all"
            self.faults.append(f"{argument.partition('=')[0]} is no option: {hint}")
        elif has_value or option.type is bool:  # `--debug` is short for `--debug=true`
            self._set(option, argument.partition("=")[2] if has_value else "true")
        else:
            self.faults.append(f"{argument} needs a value: write {argument}=...")

    def _set(self, option: Option, text: str) -> None:
        if option.type is bool:
            # Tornado takes every word but "false", "f" and "0" for true, "off" included.
            if text.lower() not in BOOLEANS:
                self.faults.append(f"{option.both_names}: {text!r} is unclear; write true or false")
                return
            text = str(BOOLEANS[text.lower()])
        try:
            self._parser.parse_command_line(["", f"--{option.name}={text}"], final=False)
        except (Error, ValueError):
            self.faults.append(f"{option.both_names}: {text!r} is not {_NUMBERS[option.type]}")


def _name(argument: str) -> str:
    return argument.lstrip("-").partition("=")[0].replace("-", "_")
