"""One call with what its server needs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Final

from quiesce.errors import NonRecoverableError
from quiesce.model.ids import ExecutionId
from quiesce.provider_kit.held_servers import HeldServerJob
from quiesce.providers.mariadb.client import IN_GALERA, MariaDBFacts, MariaDBSession
from quiesce.providers.mariadb.options import MariaDBOptions
from quiesce.providers.mariadb.waiting_copies import WaitingCopies

_OLDEST: Final = (10, 6)


@dataclass(frozen=True, slots=True, kw_only=True)
class MariaDBJob(HeldServerJob[MariaDBOptions]):
    """A call and what its node says about its server."""

    provider: ClassVar[str] = "mariadb"
    process_names: ClassVar[frozenset[str]] = frozenset({"mariadbd", "mysqld"})
    as_owner: ClassVar[str] = "quiesce.providers.mariadb.as_owner"

    copies: WaitingCopies

    @property
    def copy_key(self) -> tuple[str, ExecutionId]:
        """What tells the copy of one instance in one execution from all others."""
        return self.key, self.call.execution

    def session(self) -> MariaDBSession:
        """Log in, for as long as the call may last."""
        return MariaDBSession(self.options, timeout_s=self.context.remaining_s())

    def why_not_reached(self) -> str:
        """Return why mariadb-backup cannot log in; empty when it can."""
        options = self.options
        if options.ssh is None and (options.host.startswith("/") or not options.encrypts):
            return ""
        return "mariadb-backup reaches it by its socket only; set host to the socket's path"

    def require_usable(self, facts: MariaDBFacts) -> None:
        """Raise when this server cannot save itself.

        Raises:
            NonRecoverableError: it says why.
        """
        if wrong := self.why_not_reached() or why_not_saved(facts):
            raise NonRecoverableError(f"{self.call.instance} cannot save itself: {wrong}")


def why_not_saved(facts: MariaDBFacts) -> str:
    """Return why this server cannot save itself; empty when it can."""
    if facts.in_galera:
        return IN_GALERA
    if not facts.is_mariadb or facts.number < _OLDEST:
        why = f"it is {facts.version}; MariaDB 10.6 and later can"
    elif elsewhere := [*facts.apart, *_places_elsewhere(facts)]:
        why = f"{elsewhere[0]} lies outside of its directory"
    else:
        return ""
    return f"{why}; let other nodes cut its files, and set hold"


def _places_elsewhere(facts: MariaDBFacts) -> list[str]:
    """Return what of its data, logs of changes for others aside, is kept somewhere else."""
    told = {name: place for name, place in facts.places.items() if name != "log_bin_basename"}
    data = told["datadir"].resolve()
    return [f"{name} ({place})" for name, place in told.items() if place.resolve() != data]
