"""python -m {{cookiecutter.project_slug}} user add NAME [--role ROLE] [--email ADDRESS]
python -m {{cookiecutter.project_slug}} user role NAME ROLE

Makes the first admin, and gives or takes roles. __main__ calls this; options of the app go behind.
"""

from __future__ import annotations

import argparse
import asyncio
import getpass
import sys

from .services import Services, make_services
from .settings import Settings
from .settings_faults import memory_engine


class UserCommand:
    """`arguments` are those behind `user`; what is not for it is left in `rest`. Exits where they
    make no sense.
    """

    def __init__(self, arguments: list[str]) -> None:
        parser = argparse.ArgumentParser(
            prog=f"python -m {__package__} user",
            allow_abbrev=False,
            epilog="and options of the app",
        )
        commands = parser.add_subparsers(dest="command", required=True)
        add = commands.add_parser("add", help="make an account; asks for the password")
        add.add_argument("name")
        add.add_argument("--role", default="", help="for example admin")
        add.add_argument("--email")
        role = commands.add_parser("role", help="give a role, or take it away with ''")
        role.add_argument("name")
        role.add_argument("role")
        self.options, self.rest = parser.parse_known_args(arguments)

    def __call__(self, settings: Settings) -> None:
        asyncio.run(self._run(settings))

    async def _run(self, settings: Settings) -> None:
        services = make_services(settings)
        try:
            await services.start()
            await (_add if self.options.command == "add" else _set_role)(services, self.options)
        finally:
            await services.close()


async def _add(services: Services, options: argparse.Namespace) -> None:
    password = await asyncio.to_thread(_ask_for_password)
    try:
        user = await services.accounts.register(
            options.name, password or None, role=options.role, email=options.email
        )
    except ValueError as error:  # a name, an address or a password that cannot be
        sys.exit(str(error))
    print(f"{user.username} has an account" + (f" and is {user.role}." if user.role else "."))


async def _set_role(services: Services, options: argparse.Namespace) -> None:
    user = await services.accounts.find_by(username=options.name)
    if user is None:
        sys.exit(f"There is no user {options.name}.")
    try:
        await services.accounts.set_role(user.id, options.role)
    except ValueError as error:
        sys.exit(str(error))
    print(f"{user.username} {f'is {options.role}' if options.role else 'has no role'} now.")
    if services.settings.session_engine == memory_engine:
        print("Start the app again: its sessions are in its memory, and have the role from before.")


def _ask_for_password() -> str:
    """Return the password; "" for an account without one, whose user asks for a mail instead."""
    if not sys.stdin.isatty():
        return sys.stdin.readline().rstrip("\n")
    while True:
        password = getpass.getpass("Password (empty for none): ")
        if getpass.getpass("Again: ") == password:
            return password
        print("These are not the same.")
