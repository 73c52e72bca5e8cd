"""Answers the provider port with Compute Engine."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import replace

from quiesce.model.call import Call
from quiesce.model.ids import Json
from quiesce.ports import Context, ProviderSettings
from quiesce.provider_kit.connections import Connections
from quiesce.provider_kit.deadline import Deadline
from quiesce.provider_kit.discovery import UnhurriedContext
from quiesce.provider_kit.dispatch import PlatformProvider
from quiesce.provider_kit.job import Job, RuntimeState
from quiesce.provider_kit.options import read_options
from quiesce.providers.gcp import DESCRIPTION
from quiesce.providers.gcp.account import Login, account_of
from quiesce.providers.gcp.client import Compute, GcpConnection
from quiesce.providers.gcp.discover import discover
from quiesce.providers.gcp.job import GcpJob, SharedLists
from quiesce.providers.gcp.operations import DiskOperations, MachineOperations, SnapshotOperations
from quiesce.providers.gcp.options import GcpOptions
from quiesce.providers.gcp.target import target_of


class GcpProvider(PlatformProvider[GcpJob]):
    """One object for all calls of a process; connections and lists are shared between them."""

    def __init__(
        self, settings: ProviderSettings | None = None, sleep: Callable[[float], None] = time.sleep
    ) -> None:
        """*settings* are not needed: whatever outlives the process is kept by the service or the engine."""
        super().__init__(
            DESCRIPTION,
            {"machine": MachineOperations(), "disk": DiskOperations(), "snapshot": SnapshotOperations()},
        )
        self._sleep = sleep
        self._connections: Connections[Login, GcpConnection] = Connections(GcpConnection)
        self._lists = SharedLists(lambda connection: self._compute(connection, UnhurriedContext()))

    def job(self, call: Call, context: Context) -> GcpJob:
        """Return the call with what it is about and what was chosen for it."""
        account = account_of(call.properties)
        connection = self._connections.get(account.login)
        account = replace(account, project=account.project or connection.default_project)
        return GcpJob(
            call=call,
            context=context,
            compute=self._compute(connection, context),
            account=account,
            target=target_of(self.kind_of(call), call, account),
            options=read_options(GcpOptions, "gcp", call),
            lists=self._lists,
            state=RuntimeState(Job(call=call, context=context)),
        )

    def discover(self, options: Mapping[str, str]) -> Mapping[str, Json]:
        """Return a blueprint of a project's machines and disks; ``endpoint`` may name it."""
        config: dict[str, Json] = {"project": options.get("endpoint", ""), **options}
        account = account_of({"gcp_config": config})
        connection = self._connections.get(account.login)
        project = account.project or connection.default_project
        return discover(
            self._compute(connection, UnhurriedContext()), replace(account, project=project), options
        )

    def close(self) -> None:
        """Give connections and threads back."""
        self._connections.close()

    def _compute(self, connection: GcpConnection, context: Context) -> Compute:
        return Compute(connection, Deadline(context, "Compute Engine", self._sleep))
