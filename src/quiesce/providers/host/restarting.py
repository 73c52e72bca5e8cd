"""A process around a restore: stopped, and started again, by its own commands or by systemd."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from typing import Final

from quiesce.errors import NonRecoverableError, OperationTimeoutError, RecoverableError
from quiesce.model.outcome import NOTHING, Outcome
from quiesce.provider_kit.commands import NodeCommands, systemctl
from quiesce.providers.host import processes
from quiesce.providers.host.job import HostJob
from quiesce.providers.host.processes import Member, Stat

_POLL_S: Final = 0.05

Present = Callable[[], list[Stat]]


def stop(job: HostJob, commands: NodeCommands, present: Present) -> Outcome:
    """Stop what *present* finds, and return when all of it is gone; what is stopped already is stopped.

    It is never killed: what it could not write would be lost.

    Raises:
        RecoverableError: when its command failed.
        OperationTimeoutError: when some of it is still there when the call's time is over.
    """
    found = present()
    processes.let_go_on([stat.member for stat in found], job.context.remaining_s())
    if job.options.systemd_unit is not None:
        said = systemctl(job, commands, "stop", "--", job.options.systemd_unit)
        if said.status != 0:
            raise RecoverableError(f"{job.options.systemd_unit} was not stopped: {said}")
    elif not found:
        return Outcome(note="it was not running")
    elif job.options.stop is not None:
        said = commands.run_shell(job, job.options.stop)
        if said.status != 0 and present():
            raise RecoverableError(f"{job.options.stop!r} ended with {said}")
    else:
        _terminate(found)
    _wait_until_gone(job, [stat.member for stat in found], present)
    return NOTHING


def start(job: HostJob, commands: NodeCommands, present: Present) -> Outcome:
    """Start it, and return when it is there; what runs already runs.

    Raises:
        RecoverableError: when its command failed, or nothing that is its was there in time.
    """
    if job.options.systemd_unit is not None:
        said = systemctl(job, commands, "start", "--", job.options.systemd_unit)
        if said.status != 0:
            raise RecoverableError(f"{job.options.systemd_unit} was not started: {said}")
        return NOTHING
    if job.options.start is None or present():
        return NOTHING
    said = commands.run_shell(job, job.options.start)
    if said.status != 0 and not _present(present)[0]:
        raise RecoverableError(f"{job.options.start!r} ended with {said}")
    _wait_until_there(job, present)
    return NOTHING


def main_process(job: HostJob, commands: NodeCommands, unit: str) -> int:
    """Return the number of a unit's main process; 0 when it does not run."""
    said = systemctl(job, commands, "show", "--property=MainPID", "--value", "--", unit)
    if said.status != 0 or not said.text.isdecimal():
        raise NonRecoverableError(f"systemd does not know {unit}: {said}")
    return int(said.text)


def _terminate(found: list[Stat]) -> None:
    """Ask the first of a group to end; its children follow it."""
    members = {stat.member.pid for stat in found}
    processes.signal_all([stat for stat in found if stat.parent not in members], signal.SIGTERM)


def _wait_until_gone(job: HostJob, before: list[Member], present: Present) -> None:
    ends = time.monotonic() + job.context.remaining_s()
    while left := {*processes.living(before), *(stat.member for stat in present())}:
        if time.monotonic() >= ends or job.context.given_up():
            pids = ", ".join(str(member.pid) for member in sorted(left)[:10])
            raise OperationTimeoutError(
                f"{job.call.instance} does not stop: processes {pids} are still there"
            )
        time.sleep(_POLL_S)


def _wait_until_there(job: HostJob, present: Present) -> None:
    ends = time.monotonic() + job.context.remaining_s()
    while True:
        found, reason = _present(present)
        if found:
            return
        if time.monotonic() >= ends or job.context.given_up():
            raise RecoverableError(
                f"{job.options.start!r} has ended, and {job.call.instance} does not run{reason}"
            )
        time.sleep(_POLL_S)


def _present(present: Present) -> tuple[list[Stat], str]:
    """Return what is there; a file that holds its number may be half-written as yet."""
    try:
        return present(), ""
    except NonRecoverableError as error:
        return [], f": {error}"
