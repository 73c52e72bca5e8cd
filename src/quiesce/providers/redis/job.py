"""One call with what its server needs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Final

from quiesce.errors import NonRecoverableError
from quiesce.provider_kit.held_servers import HeldServerJob
from quiesce.providers.redis.client import RedisFacts, RedisSession
from quiesce.providers.redis.options import RedisOptions

_OLDEST: Final = (6, 2)


@dataclass(frozen=True, slots=True, kw_only=True)
class RedisJob(HeldServerJob[RedisOptions]):
    """A call and what its node says about its server."""

    provider: ClassVar[str] = "redis"
    process_names: ClassVar[frozenset[str]] = frozenset({"redis-server", "valkey-server"})

    def session(self) -> RedisSession:
        """Log in, for as long as the call may last."""
        return RedisSession(self.options, timeout_s=self.context.remaining_s())

    def require_usable(self, facts: RedisFacts) -> None:
        """Raise when this server cannot be frozen or saved.

        Raises:
            NonRecoverableError: it says why.
        """
        if wrong := why_not_usable(self.options.data_directory, facts):
            raise NonRecoverableError(f"{self.call.instance} cannot be protected: {wrong}")


def why_not_usable(directory: Path | None, facts: RedisFacts) -> str:
    """Return why this server cannot be frozen or saved; empty when it can."""
    version = ".".join(map(str, facts.version))
    if facts.name == "redis" and facts.version < _OLDEST:
        return f"it is Redis {version}; 6.2 and later can be, and Valkey"
    if facts.is_replica:
        return "it is a replica, which its primary writes to; declare the primary"
    return "" if directory is None else _why_not_replaced(directory, facts)


def _why_not_replaced(directory: Path, facts: RedisFacts) -> str:
    if facts.is_cluster:
        return "it is a member of a cluster, whose files are of one machine; leave its data_directory out"
    inside = [path for path in facts.started_with if path.resolve().is_relative_to(directory.resolve())]
    if not inside:
        return ""
    return f"it is started with {inside[0]}, which a restore of its data_directory would take away; move it"
