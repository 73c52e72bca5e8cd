"""Servers whose writes wait while a session holds them; see `held_sessions` for who keeps the session."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Final, TypeVar

from quiesce.model.capabilities import Description
from quiesce.model.consistency import Consistency
from quiesce.model.ids import Json
from quiesce.model.outcome import NOTHING, Outcome
from quiesce.ports import ProviderSettings
from quiesce.provider_kit import servers
from quiesce.provider_kit.held_sessions import SessionHolders
from quiesce.provider_kit.local_servers import LocalServerOperations, LocalServerProvider
from quiesce.provider_kit.server_access import ReachedServerOptions, access_of
from quiesce.provider_kit.server_options import LocalServerOptions
from quiesce.provider_kit.servers import ServerJob

_DEFAULT_TIMER_S: Final = 120.0


LoginT = TypeVar("LoginT", bound=ReachedServerOptions)


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldServerJob(ServerJob[LoginT]):
    """A call, what its node says about its server, and who holds servers."""

    #: what the server's process is called
    process_names: ClassVar[frozenset[str]]

    holders: SessionHolders

    @property
    def timer_s(self) -> float:
        """After how many seconds the server goes on by itself."""
        return self.call.thaw_after_s or _DEFAULT_TIMER_S

    def hold(self, **more: Json) -> Outcome:
        """Hold all writes until THAW, or until the timer is over; *more* is for the holder's program."""
        login = access_of(self.options)
        remaining_s = self.context.remaining_s()
        request: dict[str, Json] = {"login": login, "patience_s": min(remaining_s, self.timer_s), **more}
        self.holders.hold(self.key, request, thaw_after_s=self.timer_s, timeout_s=remaining_s)
        return Outcome(consistency=Consistency.APPLICATION)

    def is_held(self) -> bool:
        """Tell whether somebody holds the server now."""
        return self.holders.held(self.key) is not None

    def let_go(self) -> bool:
        """End the hold, whoever began it; see `SessionHolders.release`."""
        return self.holders.release(self.key, timeout_s=self.context.remaining_s())

    def processes(self) -> list[int]:
        """Return the server's processes."""
        return servers.processes_in(self.data_directory, self.process_names)

    def refuse_running(self) -> None:
        """Raise when a server runs on the node's directory.

        Raises:
            InUseError: naming it.
        """
        servers.refuse_processes_in(self.data_directory, self.process_names)


HeldJobT = TypeVar("HeldJobT", bound=HeldServerJob[Any])


class HeldServerOperations(LocalServerOperations[HeldJobT]):
    """Answers for a server that is held by a session of its own, and lies in one directory."""

    def thaw(self, job: HeldJobT, /) -> Outcome:
        """Let writes go on, whoever holds them; when the session ends, the server lets them go."""
        job.let_go()
        return NOTHING

    def is_frozen(self, job: HeldJobT, /) -> bool | None:
        """Tell whether the session is still there."""
        return job.is_held()

    def places(self, job: HeldJobT, /) -> list[Path]:
        """Return what a restore exchanges."""
        return [job.data_directory]


class HeldServerProvider(LocalServerProvider[HeldJobT]):
    """Servers that are held by processes which run *holder*, a module that calls `session_holder.main`."""

    def __init__(
        self,
        settings: ProviderSettings,
        description: Description,
        options: type[LocalServerOptions],
        operations: HeldServerOperations[HeldJobT],
        job: Callable[..., HeldJobT],
        *,
        holder: str,
    ) -> None:
        self._holders = SessionHolders(holder, Path(settings.state_dir) / "holds")

        def make_job(**fields: Any) -> HeldJobT:
            return job(**fields, holders=self._holders)

        super().__init__(settings, description, options, operations, make_job)

    def close(self) -> None:
        """Give back what was started; what is held stays so until its THAW or its timer."""
        self._holders.close()
        super().close()
