"""schedule show, install and remove: what calls 'quiesce run-due'."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import click

from quiesce.cli.printing import say
from quiesce.errors import ExitStatus, PlanError, UsageError
from quiesce.files.trust import require_trusted
from quiesce.reports.timers import cron_file, systemd_service, systemd_timer

_INSTALL_ELSEWHERE: Final = "Install quiesce where only root can change it, and put that first on PATH."
_SYSTEM: Final = Path("/etc/systemd/system")
_CRON: Final = Path("/etc/cron.d/quiesce")
_RUNNING: Final = Path("/run/systemd/system")


@click.group()
def schedule() -> None:
    """Have the machine call 'quiesce run-due' every few minutes: by a systemd timer, or by cron."""


@schedule.command("install")
@click.option("--by", type=click.Choice(["systemd", "cron"]), help="Default: systemd where it runs.")
@click.option("--every", type=click.IntRange(1, 59), default=5, show_default=True, help="Minutes.")
@click.option("--yes", is_flag=True, help="Write it; without it the files are only shown.")
def install(by: str | None, every: int, yes: bool) -> int:
    """Show what would be written and run; with --yes, do it.

    \b
    Example:
      quiesce schedule install
      quiesce schedule install --by cron --every 10 --yes
    """
    by = by or ("systemd" if _RUNNING.is_dir() else "cron")
    files = _files(by, every)
    for path, text in files.items():
        say(f"# {path}\n{text}")
    commands = _COMMANDS[by]
    for command in commands:
        say(f"$ {' '.join(command)}")
    if not yes:
        say("nothing was written; to write it, say --yes")
        return ExitStatus.OK
    _write(files)
    for command in commands:
        _run(command)
    return ExitStatus.OK


@schedule.command("remove")
def remove() -> None:
    """Stop calling 'quiesce run-due': remove the files that install has written."""
    timer = _SYSTEM / "quiesce-run-due.timer"
    if timer.exists() and _RUNNING.is_dir():
        _run(["systemctl", "disable", "--now", timer.name])
    gone = [path for path in (timer, timer.with_suffix(".service"), _CRON) if path.exists()]
    for path in gone:
        path.unlink()
    say(f"removed: {', '.join(map(str, gone))}" if gone else "nothing was installed")


_COMMANDS: Final[Mapping[str, list[list[str]]]] = {
    "systemd": [
        ["systemctl", "daemon-reload"],
        ["systemctl", "enable", "--now", "quiesce-run-due.timer"],
    ],
    "cron": [],
}


def _files(by: str, every: int) -> Mapping[Path, str]:
    beside = Path(sys.executable).parent  # called by its path, as from an environment of its own
    found = shutil.which("quiesce") or shutil.which("quiesce", path=str(beside))
    if found is None:
        raise UsageError(f"the command quiesce is neither on PATH nor in {beside}, so no timer could find it")
    program = os.path.normpath(Path(found).absolute())
    if os.geteuid() == 0:  # root's timer runs both, with nobody there to see what they are
        for path in (program, sys.executable):
            require_trusted(path, hint=_INSTALL_ELSEWHERE)  # with each link on the way: it can be replaced
    if by == "cron":
        return {_CRON: cron_file(program, every, _environment())}
    return {
        _SYSTEM / "quiesce-run-due.service": systemd_service(program, _environment()),
        _SYSTEM / "quiesce-run-due.timer": systemd_timer(every),
    }


def _environment() -> Mapping[str, str]:
    """Return what names the state that the timer is to work on; no secrets: a unit can be read by all."""
    home = os.environ.get("QUIESCE_HOME")
    return {"QUIESCE_HOME": str(Path(home).absolute())} if home else {}


def _write(files: Mapping[Path, str]) -> None:
    for path, text in files.items():
        try:
            path.write_text(text)
            path.chmod(0o644)
        except OSError as error:
            raise PlanError(
                f"{path} cannot be written: {error.strerror}", hint="Run it as root, or write it yourself."
            ) from error


def _run(command: list[str]) -> None:
    try:
        subprocess.run(command, check=True, timeout=60)
    except (OSError, subprocess.SubprocessError) as error:
        raise PlanError(f"{' '.join(command)} failed: {error}", hint="The files are written.") from error
