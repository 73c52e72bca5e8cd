"""Answers the provider port from vCenters."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from quiesce.backups import BackupHome, Backups
from quiesce.model.call import Call
from quiesce.model.ids import Json
from quiesce.ports import Context, ProviderSettings
from quiesce.provider_kit.connections import Connections
from quiesce.provider_kit.dispatch import PlatformProvider
from quiesce.provider_kit.job import Job, RuntimeState
from quiesce.provider_kit.options import read_options
from quiesce.providers.vsphere import DESCRIPTION
from quiesce.providers.vsphere.discover import discover
from quiesce.providers.vsphere.disk import VirtualDiskOperations
from quiesce.providers.vsphere.endpoint import VCenterEndpoint
from quiesce.providers.vsphere.job import VSphereJob
from quiesce.providers.vsphere.operations import VirtualMachineOperations
from quiesce.providers.vsphere.options import VSphereOptions
from quiesce.providers.vsphere.vcenter import VCenter


def connect(endpoint: VCenterEndpoint) -> VCenter:
    """Return a vCenter reached through pyVmomi; it logs in when it is first asked something."""
    from quiesce.providers.vsphere.client import VSphereClient

    return VSphereClient(endpoint)


class VSphereProvider(PlatformProvider[VSphereJob]):
    """Machines and their disks; one session for each vCenter."""

    def __init__(
        self, settings: ProviderSettings, connect: Callable[[VCenterEndpoint], VCenter] = connect
    ) -> None:
        super().__init__(
            DESCRIPTION, {"machine": VirtualMachineOperations(), "disk": VirtualDiskOperations()}
        )
        self._settings = settings
        self._home = BackupHome.of(settings)
        self._vcenters = Connections(connect)

    def job(self, call: Call, context: Context) -> VSphereJob:
        """Return the call with its options and the way to its vCenter."""
        return VSphereJob(
            call=call,
            context=context,
            options=read_options(VSphereOptions, "vsphere", call),
            repository=Backups(self.repository(call), self._home),
            connect=self._vcenters.get,
            state=RuntimeState(Job(call=call, context=context)),
        )

    def repository(self, call: Call) -> str:
        """Return where the instance's full copies are kept as files."""
        return read_options(VSphereOptions, "vsphere", call).repository or self._settings.repository

    def discover(self, options: Mapping[str, str]) -> Mapping[str, Json]:
        """Return a blueprint of the machines on one vCenter."""
        return discover(options, self._vcenters.get)

    def close(self) -> None:
        """Log out everywhere."""
        self._vcenters.close()
