"""What `make run` starts, under tornado.autoreload: the app, and again after each change of a file.

It is for development alone; in production start `python -m {{cookiecutter.project_slug}}`. After a
failure tornado.autoreload waits for the next change: right for a syntax error, but not where the app
was never able to start, for example because its store does not answer.
"""

import os
import runpy
import sys
from pathlib import Path
from types import ModuleType

PACKAGE = "{{cookiecutter.project_slug}}"
RELOADED = f"{PACKAGE}_RELOADED".upper()

# Restart the app for a new migration or translation, too. tornado.autoreload watches the files of
# all modules, so register these as modules. `tornado.autoreload.watch` is not enough: after an
# error, another copy of tornado.autoreload waits for the change, with a list of its own.
translations = Path(PACKAGE, "translations").absolute()
versions = Path(PACKAGE, "migrations", "versions").absolute()
for path in (versions, translations, *translations.glob("*.csv")):
    watched = ModuleType(f"{path} of {__file__}")
    watched.__file__ = str(path)
    sys.modules[watched.__name__] = watched

is_first_start = RELOADED not in os.environ
os.environ[RELOADED] = "true"  # a reload replaces the process, and keeps its environment
try:
    runpy.run_module(PACKAGE, run_name="__main__", alter_sys=True)
except SystemExit as end:
    is_fault = isinstance(end.code, str)
    if is_fault and not is_first_start:
        raise
    print(end.code if is_fault else "", end="\n" if is_fault else "", file=sys.stderr, flush=True)
    os._exit(1 if is_fault else int(end.code or 0))
