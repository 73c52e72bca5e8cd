"""What the providers of servers do alike: with a call, with backups, with what a restore has replaced."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TypeVar

from quiesce.backups import BackupHome
from quiesce.model.call import Call
from quiesce.model.capabilities import Description
from quiesce.model.former_state import FormerState
from quiesce.model.outcome import Outcome
from quiesce.model.restore_point import Proof
from quiesce.model.target import RestoreTarget
from quiesce.ports import Context, ProviderSettings
from quiesce.provider_kit import servers
from quiesce.provider_kit.commands import NodeCommands
from quiesce.provider_kit.dispatch import CheckedOperations, PlatformProvider, unsupported
from quiesce.provider_kit.options import read_options
from quiesce.provider_kit.server_options import LocalServerOptions
from quiesce.provider_kit.servers import AnyJob

ServerJobT = TypeVar("ServerJobT", bound=AnyJob)


class LocalServerOperations(CheckedOperations[ServerJobT]):
    """Answers for a server: its backups are in the repository, what is replaced stays beside its files."""

    suspend = resume = unsupported
    extract = unsupported

    @abstractmethod
    def places(self, job: ServerJobT, /) -> Iterable[Path]:
        """Return the directories that a restore exchanges: those that others lead to last."""

    def let_go_of_expired(self, job: ServerJobT, /) -> None:
        """Remove what was to be kept for a time which is over."""
        if job.options.data_directory is not None:
            servers.let_go_of_expired(job, self.places(job))

    def delete(self, job: ServerJobT, /) -> Outcome:
        """Remove the backup, or what was begun of it."""
        return Outcome(note=job.saving.remove())

    def revert(self, job: ServerJobT, /) -> Outcome:
        """Exchange what is there with what a restore has replaced."""
        return servers.revert(job, self.places(job))

    def confirm(self, job: ServerJobT, /) -> Outcome:
        """Keep what a restore has replaced, or let it go."""
        return servers.confirm(job, self.places(job))

    def verify(self, job: ServerJobT, /) -> Proof:
        """Read every byte of the backup, and see that it is what was written."""
        return job.saving.verify()

    def inspect_target(self, job: ServerJobT, /) -> RestoreTarget:
        """Tell what stands in the way of replacing it."""
        return servers.inspect_target(self.places(job))

    def former_state(self, job: ServerJobT, /) -> FormerState | None:
        """Tell what is kept."""
        return servers.former_state(job)


class LocalServerProvider(PlatformProvider[ServerJobT]):
    """Servers that are reached by socket or network; replaced where their files are on this machine."""

    def __init__(
        self,
        settings: ProviderSettings,
        description: Description,
        options: type[LocalServerOptions],
        operations: LocalServerOperations[ServerJobT],
        make_job: Callable[..., ServerJobT],
    ) -> None:
        """Answer for *description*'s one kind; *make_job* is given the fields of a `ServerJob`."""
        super().__init__(description, {"server": operations})
        self._state = Path(settings.state_dir)
        self._default_repository = settings.repository
        self._backup_home = BackupHome.of(settings)
        self._commands = NodeCommands(self._state / "said")
        self._options = options
        self._make_job = make_job

    def job(self, call: Call, context: Context) -> ServerJobT:
        """Return the call with what its node says about its server."""
        return self._make_job(
            call=call,
            context=context,
            options=self._read_options(call),
            commands=self._commands,
            state_dir=self._state,
            default_repository=self._default_repository,
            home=self._backup_home,
        )

    def repository(self, call: Call) -> str:
        """Return where the instance's backups are kept."""
        return self._read_options(call).repository or self._default_repository

    def close(self) -> None:
        """Give back what was started."""
        self._commands.close()

    def _read_options(self, call: Call) -> LocalServerOptions:
        return read_options(self._options, self._description.name, call)
