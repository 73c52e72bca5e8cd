"""Answers the provider port for MariaDB servers."""

from __future__ import annotations

from collections.abc import Mapping

from quiesce.model.ids import Json
from quiesce.ports import ProviderSettings
from quiesce.provider_kit.held_servers import HeldServerProvider
from quiesce.providers.mariadb import DESCRIPTION
from quiesce.providers.mariadb.discover import discover
from quiesce.providers.mariadb.job import MariaDBJob
from quiesce.providers.mariadb.operations import MariaDBOperations
from quiesce.providers.mariadb.options import MariaDBOptions

_HOLDER = "quiesce.providers.mariadb.holder"


class MariaDBProvider(HeldServerProvider[MariaDBJob]):
    """Servers that are reached by socket or network; saved where their files are on this machine."""

    def __init__(self, settings: ProviderSettings) -> None:
        super().__init__(
            settings, DESCRIPTION, MariaDBOptions, MariaDBOperations(), MariaDBJob, holder=_HOLDER
        )

    def discover(self, options: Mapping[str, str]) -> Mapping[str, Json]:
        """Return a blueprint of the server that answers."""
        return discover(options)
