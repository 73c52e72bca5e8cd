"""The provider: who answers for which kind of node."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from quiesce.backups import BackupHome, Backups
from quiesce.model.call import Call
from quiesce.model.ids import Json
from quiesce.ports import Context, ProviderSettings
from quiesce.provider_kit.connections import Connections
from quiesce.provider_kit.dispatch import PlatformProvider
from quiesce.provider_kit.job import Job, RuntimeState, saved_call
from quiesce.provider_kit.options import read_options
from quiesce.providers.libvirt import DESCRIPTION
from quiesce.providers.libvirt.client import Hypervisor
from quiesce.providers.libvirt.discover import blueprint_of
from quiesce.providers.libvirt.domain.operations import DomainOperations
from quiesce.providers.libvirt.domain.statistics import DomainStatistics
from quiesce.providers.libvirt.job import Hypervisors, LibvirtJob
from quiesce.providers.libvirt.network_pool import LibvirtNetworkOperations, LibvirtPoolOperations
from quiesce.providers.libvirt.options import LibvirtOptions
from quiesce.providers.libvirt.resource import DEFAULT_URI, resource_of
from quiesce.providers.libvirt.volume import LibvirtVolumeOperations


class LibvirtProvider(PlatformProvider[LibvirtJob]):
    """Performs operations on libvirt's domains, volumes, networks and pools."""

    def __init__(self, settings: ProviderSettings, connect: Callable[[str], Hypervisor] = Hypervisor) -> None:
        """*connect* opens a connection to a URI; a port for tests."""
        self._default_repository = settings.repository
        self._home = BackupHome.of(settings)
        self._hypervisors: Hypervisors = Connections(
            lambda key: connect(key[0]), is_alive=lambda hypervisor: hypervisor.is_alive()
        )
        super().__init__(
            DESCRIPTION,
            {
                "domain": DomainOperations(DomainStatistics(self._figures)),
                "volume": LibvirtVolumeOperations(),
                "network": LibvirtNetworkOperations(),
                "pool": LibvirtPoolOperations(),
            },
        )

    def job(self, call: Call, context: Context) -> LibvirtJob:
        """Return the call with its options and its resource; connects to nothing."""
        options, saved = (read_options(LibvirtOptions, "libvirt", each) for each in (call, saved_call(call)))
        return LibvirtJob(
            call=call,
            context=context,
            options=options,
            resource=resource_of(call),
            repository=Backups(options.repository_or(self._default_repository), self._home),
            hypervisors=self._hypervisors,
            state=RuntimeState(Job(call=call, context=context)),
            saved_in=Backups(saved.repository_or(self._default_repository), self._home),
        )

    def repository(self, call: Call) -> str:
        """Return where the instance's backups are kept."""
        options = read_options(LibvirtOptions, "libvirt", call)
        return options.repository_or(self._default_repository)

    def discover(self, options: Mapping[str, str]) -> Mapping[str, Json]:
        """Return a blueprint of what runs at the URI that *options* names as ``endpoint``."""
        return blueprint_of(self._hypervisor(options.get("endpoint") or DEFAULT_URI))

    def close(self) -> None:
        """Give the connections back."""
        self._hypervisors.close()

    def _hypervisor(self, uri: str) -> Hypervisor:
        return self._hypervisors.get((uri, False))

    def _figures(self, uri: str) -> Mapping[str, Mapping[str, Any]]:
        return self._hypervisor(uri).statistics()
