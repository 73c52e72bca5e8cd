"""What every command that works on stored state does first and last."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any, Final, TypeVar

import click

from quiesce.app.masking import Masking, masked_error
from quiesce.app.run.execution import Watching
from quiesce.app.run.recover import Unfinished, find_unfinished, recover
from quiesce.app.services import Services
from quiesce.bootstrap import Application, Settings, start_guard
from quiesce.cli.printing import say
from quiesce.errors import DamagedPlanError, ExitStatus, QuiesceError
from quiesce.model.debts import Owed

#: how long a command tries to thaw what an earlier one has left, in seconds, before it does what it is for
_PATIENCE_S: Final = 10.0

#: what settles and ends an execution of Cloudify's
_IN_CLOUDIFY: Final = "start any of the workflows in Cloudify, statistics say"

F = TypeVar("F", bound=Callable[..., Any])

here_option = click.option(
    "--here", is_flag=True, help="Do it on this machine, although another one has begun or made it."
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON, a stable interface.")


@contextmanager
def services(*, freezing: bool = False, warn: bool = True) -> Iterator[Services]:
    """Give the services, and close them afterwards; *freezing* starts a guard ahead.

    What interrupted executions have left frozen or stopped is settled by every command, without being asked.
    What could not be settled, and unfinished executions, are reported on standard error.
    """
    settings, masking = Settings.of(os.environ), Masking()
    guard = start_guard(settings) if freezing else None
    with without_secrets(masking):
        application = Application(settings, guard, masking=masking)
        try:
            if warn:
                _settle_unfinished(application.services)
            yield application.services
        finally:
            application.close()


@contextmanager
def without_secrets(masking: Masking) -> Iterator[None]:
    """Take the secrets out of what is raised within the block, out of a bug's traceback too."""
    try:
        yield
    except QuiesceError as error:
        masked_error(masking, error)
        raise
    except Exception:
        trace = traceback.format_exc()
        masked = masking.text(trace)
        if masked == trace:
            raise
        say(masked, err=True)
        sys.exit(ExitStatus.INTERNAL)


def _may_be(owed: Owed) -> str:
    told = {"may STILL BE FROZEN": owed.frozen, "may STILL BE STOPPED": owed.stopped}
    return "; ".join(f"{', '.join(names)} {what}" for what, names in told.items() if names)


def _settle_unfinished(services: Services) -> None:
    found = find_unfinished(services)
    if any(unfinished.settled_here for unfinished in found):
        with suppress(QuiesceError):  # what is still owed is told
            recover(services, Watching(by="the next command", settle_patience_s=_PATIENCE_S))
        left = {each.execution.id: each for each in find_unfinished(services)}
        for unfinished in found:
            now = left.get(unfinished.execution.id)
            if unfinished.owed and (now is None or not now.owed):
                told = ", ".join(unfinished.owed.instances)
                say(f"quiesce: {told} was left frozen or stopped, and goes on now", err=True, fg="yellow")
        found = list(left.values())
    _warn_of(found)


def _warn_of(found: Sequence[Unfinished]) -> None:
    for unfinished in found:
        execution = unfinished.execution
        if unfinished.being_settled:
            say(f"quiesce: {execution.id} was interrupted; its guard settles it now", err=True, fg="yellow")
        elif unfinished.damage:
            say(f"quiesce: {unfinished.damage}. {DamagedPlanError.hint}", err=True, fg="red", bold=True)
        elif unfinished.owed:
            remedy = "quiesce recover" if unfinished.performed_here else _IN_CLOUDIFY
            remedy = f"on {unfinished.host}: {remedy}" if unfinished.host else remedy
            say(
                f"quiesce: {_may_be(unfinished.owed)} of {execution.deployment} by {execution.id}. "
                f"Settle it: {remedy}",
                err=True,
                fg="red",
                bold=True,
            )
        elif not unfinished.performed_here:
            say(f"quiesce: {execution.id} was interrupted. End it: {_IN_CLOUDIFY}", err=True, fg="yellow")
        elif execution.state == "running" and unfinished.host:
            say(f"quiesce: {execution.id} was interrupted on {unfinished.host}", err=True, fg="yellow")
        elif execution.state == "running":
            say(
                f"quiesce: {execution.id} was interrupted. Resume it: "
                f"quiesce executions resume {execution.id}; "
                f"or roll back: quiesce executions cancel {execution.id}",
                err=True,
                fg="yellow",
            )


def on_terminal() -> bool:
    """Tell whether somebody is watching."""
    return sys.stdout.isatty() and os.environ.get("TERM") != "dumb"
