"""Answers the provider port for PostgreSQL servers."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

from quiesce.model.ids import Json
from quiesce.ports import ProviderSettings
from quiesce.provider_kit.local_servers import LocalServerProvider
from quiesce.providers.postgresql import DESCRIPTION
from quiesce.providers.postgresql.discover import discover
from quiesce.providers.postgresql.job import HeldSessions, PostgreSQLJob
from quiesce.providers.postgresql.operations import PostgreSQLOperations
from quiesce.providers.postgresql.options import PostgreSQLOptions


class PostgreSQLProvider(LocalServerProvider[PostgreSQLJob]):
    """Servers that are reached by socket or network; restored where their files are on this machine."""

    def __init__(self, settings: ProviderSettings) -> None:
        self._held = HeldSessions()
        make_job = partial(PostgreSQLJob, held=self._held)
        super().__init__(settings, DESCRIPTION, PostgreSQLOptions, PostgreSQLOperations(), make_job)

    def discover(self, options: Mapping[str, str]) -> Mapping[str, Json]:
        """Return a blueprint of the servers that answer."""
        return discover(options)

    def close(self) -> None:
        """End every session, and with it what it holds."""
        self._held.end_all()
        super().close()
