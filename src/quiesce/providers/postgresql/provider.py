"""Answers the provider port for PostgreSQL servers."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from quiesce.archives import Keyring
from quiesce.model.call import Call
from quiesce.model.ids import Json
from quiesce.ports import Context, ProviderSettings
from quiesce.provider_kit.commands import NodeCommands
from quiesce.provider_kit.dispatch import PlatformProvider
from quiesce.provider_kit.options import read_options
from quiesce.providers.postgresql import DESCRIPTION
from quiesce.providers.postgresql.discover import discover
from quiesce.providers.postgresql.job import HeldSessions, PostgreSQLJob
from quiesce.providers.postgresql.operations import PostgreSQLOperations
from quiesce.providers.postgresql.options import PostgreSQLOptions


class PostgreSQLProvider(PlatformProvider[PostgreSQLJob]):
    """Servers that are reached by socket or network; restored where their files are on this machine."""

    def __init__(self, settings: ProviderSettings) -> None:
        self._state = Path(settings.state_dir)
        self._default_repository = Path(settings.repository_dir)
        self._keyring = Keyring(Path(settings.keys_file))
        self._held = HeldSessions()
        self._commands = NodeCommands(self._state / "said")
        super().__init__(DESCRIPTION, {"server": PostgreSQLOperations()})

    def job(self, call: Call, context: Context) -> PostgreSQLJob:
        """Return the call with what its node says about its server."""
        return PostgreSQLJob(
            call=call,
            context=context,
            options=read_options(PostgreSQLOptions, "postgresql", call),
            held=self._held,
            commands=self._commands,
            state_dir=self._state,
            default_repository=self._default_repository,
            keyring=self._keyring,
        )

    def repository(self, call: Call) -> str:
        """Return where the instance's backups are kept."""
        found = read_options(PostgreSQLOptions, "postgresql", call).repository
        return str(found or self._default_repository)

    def discover(self, options: Mapping[str, str]) -> Mapping[str, Json]:
        """Return a blueprint of the servers that answer."""
        return discover(options)

    def close(self) -> None:
        """End every session, and with it what it holds."""
        self._held.end_all()
        self._commands.close()
