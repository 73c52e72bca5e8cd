"""Answers the provider port for MariaDB servers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from quiesce.model.ids import Json
from quiesce.ports import ProviderSettings
from quiesce.provider_kit.held_servers import HeldServerProvider
from quiesce.providers.mariadb import DESCRIPTION
from quiesce.providers.mariadb.discover import discover
from quiesce.providers.mariadb.job import MariaDBJob
from quiesce.providers.mariadb.operations import MariaDBOperations
from quiesce.providers.mariadb.options import MariaDBOptions
from quiesce.providers.mariadb.waiting_copies import WaitingCopies

_HOLDER = "quiesce.providers.mariadb.holder"


class MariaDBProvider(HeldServerProvider[MariaDBJob]):
    """Servers that are reached by socket or network; saved where their files are on this machine."""

    def __init__(self, settings: ProviderSettings) -> None:
        self._copies = WaitingCopies()

        def make_job(**fields: Any) -> MariaDBJob:
            return MariaDBJob(**fields, copies=self._copies)

        super().__init__(settings, DESCRIPTION, MariaDBOptions, MariaDBOperations(), make_job, holder=_HOLDER)

    def discover(self, options: Mapping[str, str]) -> Mapping[str, Json]:
        """Return a blueprint of the server that answers."""
        return discover(options)

    def close(self) -> None:
        """Give back what was started; a copy that no cut has ended becomes a base copy."""
        self._copies.close()
        super().close()
