"""Answers the provider port for MariaDB servers."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from quiesce.archives import Keyring
from quiesce.model.call import Call
from quiesce.model.ids import Json
from quiesce.ports import Context, ProviderSettings
from quiesce.provider_kit.commands import NodeCommands
from quiesce.provider_kit.dispatch import PlatformProvider
from quiesce.provider_kit.held_sessions import SessionHolders
from quiesce.provider_kit.options import read_options
from quiesce.providers.mariadb import DESCRIPTION
from quiesce.providers.mariadb.discover import discover
from quiesce.providers.mariadb.job import MariaDBJob
from quiesce.providers.mariadb.operations import MariaDBOperations
from quiesce.providers.mariadb.options import MariaDBOptions

_HOLDER = "quiesce.providers.mariadb.holder"


class MariaDBProvider(PlatformProvider[MariaDBJob]):
    """Servers that are reached by socket or network; saved where their files are on this machine."""

    def __init__(self, settings: ProviderSettings) -> None:
        self._state = Path(settings.state_dir)
        self._default_repository = Path(settings.repository_dir)
        self._keyring = Keyring(Path(settings.keys_file))
        self._commands = NodeCommands(self._state / "said")
        self._holders = SessionHolders(_HOLDER, self._state / "holds")
        super().__init__(DESCRIPTION, {"server": MariaDBOperations()})

    def job(self, call: Call, context: Context) -> MariaDBJob:
        """Return the call with what its node says about its server."""
        return MariaDBJob(
            call=call,
            context=context,
            options=read_options(MariaDBOptions, "mariadb", call),
            holders=self._holders,
            commands=self._commands,
            state_dir=self._state,
            default_repository=self._default_repository,
            keyring=self._keyring,
        )

    def repository(self, call: Call) -> str:
        """Return where the instance's backups are kept."""
        return str(read_options(MariaDBOptions, "mariadb", call).repository or self._default_repository)

    def discover(self, options: Mapping[str, str]) -> Mapping[str, Json]:
        """Return a blueprint of the server that answers."""
        return discover(options)

    def close(self) -> None:
        """Give back what was started; what is held stays so until its THAW or its timer."""
        self._holders.close()
        self._commands.close()
