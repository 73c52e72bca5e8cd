"""Servers whose files are on this machine: stopped, replaced with their own user's rights, started.

What is particular (how one is asked, copied and started) is its provider's. What a restore does is the same
for all: it builds the restored directories beside the present ones, exchanges them, and keeps what was there.
"""

from __future__ import annotations

import dataclasses
import os
import time
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Final, Generic, Protocol, Self, TypeVar

from quiesce.backups import BackupHome, Backups
from quiesce.errors import (
    InUseError,
    NonRecoverableError,
    ProbeFailedError,
    ProviderError,
    RecoverableError,
    ResourceNotFoundError,
)
from quiesce.files.durable import make_private_directory, write_durably
from quiesce.files.reading import read_regular
from quiesce.files.trust import open_declared
from quiesce.model.former_state import FormerState, Side
from quiesce.model.ids import BackupName, ExecutionId
from quiesce.model.outcome import NOTHING, Outcome
from quiesce.model.target import RestoreTarget, TargetProblem
from quiesce.provider_kit.commands import NodeCommands, systemctl
from quiesce.provider_kit.job import Job, saved_call
from quiesce.provider_kit.options import read_options
from quiesce.provider_kit.ownership import digest
from quiesce.provider_kit.saving import Saving
from quiesce.provider_kit.server_user import ServerUser

_PAUSE_S: Final = 0.2
_LONGEST_FILE: Final = 1 << 16


class ServerOptions(Protocol):
    """What every server's node says about it."""

    @property
    def data_directory(self) -> Path | None:
        """Its files on this machine."""
        ...

    @property
    def systemd_unit(self) -> str | None:
        """The unit that it is stopped and started by."""
        ...

    @property
    def repository(self) -> str | None:
        """The node's own repository: a path or a URL."""
        ...


OptionsT = TypeVar("OptionsT", bound=ServerOptions)


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerJob(Job, Generic[OptionsT]):
    """A call and what its node says about its server."""

    #: the provider's name, as its backups bear it
    provider: ClassVar[str]
    #: what works in the server's directories with their owner's rights
    as_owner: ClassVar[str] = "quiesce.provider_kit.server_places"

    options: OptionsT
    commands: NodeCommands
    state_dir: Path
    default_repository: str
    home: BackupHome

    @property
    def data_directory(self) -> Path:
        """Where the server's files are, without links.

        Raises:
            NonRecoverableError: when its node does not say it.
            UntrustedPathError: at a link of the server's user, say: it may lead to the directory of another
                one, with whose rights a program of the server's would be started.
        """
        if self.options.data_directory is None:
            raise NonRecoverableError(
                f"{self.call.instance} does not say where its files are", hint="Set its data_directory."
            )
        with open_declared(self.options.data_directory) as declared:
            return Path(os.fsdecode(declared.path))

    @property
    def key(self) -> str:
        """A file name for the state of the call's instance, different for each."""
        return digest(self.call.deployment, self.call.instance)

    @property
    def repository(self) -> Backups:
        """Where the node's backups are kept."""
        return Backups(self.options.repository or self.default_repository, self.home)

    @property
    def saving(self) -> Saving:
        """The call's backup in the repository."""
        saved = self.saved
        return Saving(saved, saved.repository, self.provider)

    @property
    def saved(self) -> Self:
        """The job as whoever has saved the restore point would be given it."""
        if self.call.origin is None:
            return self
        call = saved_call(self.call)
        return dataclasses.replace(
            self, call=call, options=read_options(type(self.options), self.provider, call)
        )

    @property
    def owner(self) -> ServerUser:
        """Whose the server's files are."""
        return ServerUser.of(self.data_directory)

    def ask(self, operation: str, **request: Any) -> Any:
        """Have the owner of the server's files do *operation*."""
        left_s = self.context.remaining_s()
        return self.owner.ask(operation, program=self.as_owner, timeout_s=left_s, **request)

    def wait_until(self, is_so: Callable[[], bool], what: str) -> None:
        """Return when *is_so*.

        Raises:
            OperationTimeoutError: when it is not within the call's time.
        """
        deadline = self.deadline(f"{self.call.instance} to {what}")
        while not is_so():
            deadline.pause(_PAUSE_S)

    def remember(self, what: str, text: str) -> None:
        """Keep a text about the instance, for calls to come."""
        path = self.state_dir / what / self.key
        make_private_directory(path.parent)
        write_durably(path, text.encode())

    def recall(self, what: str) -> str:
        """Return the text that was kept; empty when there is none."""
        try:
            return read_regular(self.state_dir / what / self.key, at_most=_LONGEST_FILE).decode()
        except OSError:
            return ""


AnyJob = ServerJob[Any]


def by_systemd(job: AnyJob, word: str) -> None:
    """Have the node's unit stopped or started.

    Raises:
        RecoverableError: when systemd did not.
    """
    said = systemctl(job, job.commands, word, "--", str(job.options.systemd_unit))
    if said.status != 0:
        raise RecoverableError(f"systemctl {word} {job.options.systemd_unit} ended with {said}")


def replace(job: AnyJob, places: Sequence[str], refuse_running: Callable[[], None]) -> None:
    """Exchange everything with what has come to *places*; what leads to the others is named first."""
    refuse_running()
    job.ask("replace", places=places[::-1], execution=job.call.execution, point=job.point)


def revert(job: AnyJob, places: Iterable[Path]) -> Outcome:
    """Exchange the present state with the one that is kept.

    Raises:
        ResourceNotFoundError: when none is.
    """
    if former_state(job) is None:
        where = job.data_directory
        raise ResourceNotFoundError(f"no restore of {where} has left anything that it could be undone with")
    job.ask("revert", places=kept(places), wanted=job.call.parameters.undo_to.value)
    return NOTHING


def confirm(job: AnyJob, places: Iterable[Path]) -> Outcome:
    """Keep what was replaced as the undo, or let go of it."""
    keep_s = job.call.parameters.keep_undo_s
    job.ask("confirm", places=kept(places), execution=job.call.execution, keep_s=keep_s)
    return NOTHING


def let_go_of_expired(job: AnyJob, places: Iterable[Path]) -> None:
    """Remove what was to be kept for a time which is over."""
    if found := kept(places):
        job.ask("let_go_of_expired", places=found)


def former_state(job: AnyJob) -> FormerState | None:
    """Tell what is kept of what restores have replaced."""
    if job.options.data_directory is None or not _room(job.data_directory).exists():
        return None
    found = job.ask("state", places=[str(job.data_directory)])
    if not found.get("kept"):
        return None
    return FormerState(
        execution=ExecutionId(found["execution"]),
        point=BackupName(found["point"]),
        replaced_at=found["replaced_at"],
        succeeded=found["succeeded"],
        kept=Side(found["kept"]),
        place=found["place"],
        keep_until=found["keep_until"],
    )


def inspect_target(places: Iterable[Path]) -> RestoreTarget:
    """Tell beforehand what stands in the way of replacing *places*."""
    problems = [
        TargetProblem(
            code="mount-inside",
            detail=f"{place} is a mount point, which cannot be replaced",
            remedy="Let it be a directory below the mount point.",
        )
        for place in places
        if os.path.ismount(place)
    ]
    return RestoreTarget(problems=tuple(problems))


def wait_until_well(job: AnyJob, why_not: Callable[[], str | None]) -> None:
    """Return when *why_not* has no reason left; what cannot be asked yet is asked again.

    Raises:
        ProbeFailedError: when it has one until the call's time is over, or *why_not* gives up.
    """
    ends = time.monotonic() + max(0.0, job.context.remaining_s() - 2 * _PAUSE_S)
    while (reason := _reason(why_not)) is not None:
        if time.monotonic() >= ends or job.context.given_up():
            raise ProbeFailedError(f"{job.call.instance} does not answer as it should: {reason}")
        time.sleep(_PAUSE_S)


def processes_in(directory: Path, names: Collection[str]) -> list[int]:
    """Return the processes of these *names* that work in *directory*: a server stays in its data's.

    Those of other users are left out: what they call themselves, and are started by, says nothing.
    """
    links = (link for link in Path("/proc").glob("[0-9]*/cwd") if _leads_to(link, directory))
    found = [link.parent for link in links if _name_of(link.parent) in names]
    return sorted(int(process.name) for process in found if _user_of(process) in _whose(directory))


def refuse_processes_in(directory: Path, names: Collection[str]) -> None:
    """Raise when a server runs on *directory*.

    Raises:
        InUseError: naming it.
    """
    if found := processes_in(directory, names):
        raise InUseError(f"a server runs on {directory} (process {found[0]})")


def mount_of(path: Path) -> Path:
    """Return the mount point that *path* is below, or would be."""
    there = next(each for each in (path, *path.parents) if each.exists())
    return next(each for each in (there, *there.parents) if os.path.ismount(each))


def kept(places: Iterable[Path]) -> list[str]:
    """Return those of *places* beside which something is kept."""
    return [str(place) for place in places if _room(place).exists()]


def _reason(why_not: Callable[[], str | None]) -> str | None:
    try:
        return why_not()
    except ProbeFailedError:
        raise
    except ProviderError as error:
        return str(error)


def _name_of(process: Path) -> str:
    try:
        return (process / "comm").read_text().strip()
    except OSError:
        return ""


def _whose(directory: Path) -> set[int]:
    return {0, directory.lstat().st_uid}


def _user_of(process: Path) -> int | None:
    """Return as whom a process runs; None when it is gone."""
    try:
        lines = (process / "status").read_text(errors="replace").splitlines()
    except OSError:
        return None
    return next((int(line.split()[2]) for line in lines if line.startswith("Uid:")), None)


def _leads_to(link: Path, directory: Path) -> bool:
    try:
        return link.readlink() == directory
    except OSError:
        return False


def _room(place: Path) -> Path:
    return place.with_name(f".quiesce-{place.name}")
