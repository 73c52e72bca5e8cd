"""serve; users add, list and remove."""

from __future__ import annotations

import ipaddress
import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from quiesce.bootstrap import SECRETS_FILE, USERS_FILE, Secrets, Settings, require_trusted_home
from quiesce.cli.printing import say
from quiesce.cli.session import json_option, services
from quiesce.errors import PlanError, UsageError
from quiesce.reports.json import render_json
from quiesce.service.users import UserRole, Users, read_role

if TYPE_CHECKING:
    from quiesce.service.proxy import TrustedProxy

_ROLES = click.Choice([role.label for role in UserRole])


@click.command()
@click.option("--address", default="127.0.0.1", show_default=True, help="Where to listen.")
@click.option("--port", type=click.IntRange(1, 65535), default=8420, show_default=True)
@click.option(
    "--host-name", "host_names", multiple=True, metavar="NAME", help="A name that browsers may ask for it by."
)
@click.option(
    "--run-due/--no-run-due", default=True, show_default=True, help="Run what policies say is due, too."
)
@click.option("--open-metrics", is_flag=True, help="Serve /metrics to everybody who can reach it.")
@click.option(
    "--proxy",
    metavar="ADDRESS",
    help="Believe the reverse proxy at this address who has logged in. It needs the secret console_proxy.",
)
@click.option(
    "--user-header",
    metavar="NAME",
    default="Remote-User",
    show_default=True,
    help="The header that the proxy puts the user's name into.",
)
def serve(
    address: str,
    port: int,
    host_names: tuple[str, ...],
    run_due: bool,
    open_metrics: bool,
    proxy: str | None,
    user_header: str,
) -> None:
    """Serve the console in a browser, and run what policies say is due. On this machine only, unless told.

    Put a reverse proxy with TLS before it to reach it from elsewhere, and name it with --host-name.

    \b
    Example:
      quiesce users add alice --role operator
      quiesce serve
    """
    try:
        from quiesce.service.server import Serving
        from quiesce.service.server import serve as serve_console
    except ImportError as error:
        raise UsageError(f"{error.name} is not installed", hint="pip install quiesce[serve]") from None
    home = Settings.of(os.environ).home
    users = _users(home)
    if not users.list():
        raise PlanError("nobody may use the console yet", hint="quiesce users add NAME --role admin")
    serving = Serving(
        home=home,
        address=address,
        port=port,
        host_names=host_names,
        run_due_s=60.0 if run_due else None,
        open_metrics=open_metrics,
    )
    with services() as given:
        if proxy is not None:
            secret = Secrets(home / SECRETS_FILE, os.environ, given.masking)("console_proxy")
            serving = replace(serving, proxy=_trusted(proxy, user_header, secret))
        say(f"serving http://{address}:{port}/ until it is ended (Ctrl-C)")
        serve_console(given, serving)


def _trusted(address: str, header: str, secret: str) -> TrustedProxy:
    from quiesce.service.proxy import LEAST_SECRET, TrustedProxy

    try:
        shown = str(ipaddress.ip_address(address))
    except ValueError:
        raise UsageError(f"--proxy {address!r} is no address, such as 127.0.0.1") from None
    if len(secret) < LEAST_SECRET:
        raise UsageError(
            f"the secret console_proxy is shorter than {LEAST_SECRET} characters", hint="openssl rand -hex 32"
        )
    return TrustedProxy(address=shown, header=header, secret=secret)


@click.group()
def users() -> None:
    """Say who may use the console, and as what: viewer, operator or admin."""


@users.command("add")
@click.argument("name")
@click.option("--role", type=_ROLES, default="viewer", show_default=True)
def add(name: str, role: str) -> None:
    """Make the user NAME, or give NAME a new token and role; print the token, which is kept nowhere.

    \b
    Example:
      quiesce users add alice --role operator
    """
    token = _users(Settings.of(os.environ).home).add(name, read_role(role))
    say(token)
    say(f"{name} is {role}; this token is shown once", err=True)


@users.command("list")
@json_option
def list_users(as_json: bool) -> None:
    """List the users and their roles."""
    found = _users(Settings.of(os.environ).home).list()
    told = [{"name": user.name, "role": user.role.label} for user in found]
    say(render_json("users", told) if as_json else "\n".join(f"{u['name']}  {u['role']}" for u in told))


@users.command("remove")
@click.argument("name")
def remove(name: str) -> None:
    """Forget the user NAME; a session of theirs ends at its next page."""
    _users(Settings.of(os.environ).home).remove(name)
    say(f"{name} may not use the console any more")


def _users(home: Path) -> Users:
    require_trusted_home(home)
    return Users(home / USERS_FILE)
