"""One call with everything that is needed to answer it."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final, TypeAlias

from quiesce.backups import Backups
from quiesce.errors import ResourceNotFoundError, UnsupportedError
from quiesce.provider_kit.connections import Connections
from quiesce.provider_kit.deadline import Deadline
from quiesce.provider_kit.job import Job, RuntimeState, saved_call
from quiesce.provider_kit.options import read_options
from quiesce.provider_kit.ownership import Owner, OwnerKey
from quiesce.provider_kit.saving import Saving
from quiesce.providers.libvirt.client import Domain, Hypervisor
from quiesce.providers.libvirt.options import LibvirtOptions
from quiesce.providers.libvirt.ownership import object_name
from quiesce.providers.libvirt.resource import LibvirtResource, resource_of

#: one for each URI, and one more for thawing, so that it never queues behind calls that hang
Hypervisors: TypeAlias = Connections[tuple[str, bool], Hypervisor]
#: how long to wait for an event before looking again, in seconds
_LOOK_AGAIN_S: Final = 0.25


@dataclass(frozen=True, slots=True, kw_only=True)
class LibvirtJob(Job):
    """A call, what was chosen for it, and which resource it is about."""

    options: LibvirtOptions
    resource: LibvirtResource
    repository: Backups
    hypervisors: Hypervisors
    state: RuntimeState
    #: the repository of whoever has saved the restore point
    saved_in: Backups

    @property
    def saved(self) -> LibvirtJob:
        """The job as whoever has saved the restore point would be given it."""
        if self.call.origin is None:
            return self
        call = saved_call(self.call)
        options = read_options(LibvirtOptions, "libvirt", call)
        return replace(self, call=call, options=options, resource=resource_of(call), repository=self.saved_in)

    @property
    def new_name(self) -> str | None:
        """The name under which a backup becomes another domain; None: the saved one is put back."""
        if self.options.restore_as or not self.call.parameters.source:
            return self.options.restore_as
        return self.resource.names[0]

    @property
    def hypervisor(self) -> Hypervisor:
        """The hypervisor that the node names."""
        return self.hypervisors.get((self.resource.uri, False))

    @property
    def owner(self) -> Owner:
        """Who makes what the call makes."""
        return Owner.of(self.call)

    @property
    def key(self) -> OwnerKey:
        """The same in two words, for names that have little room."""
        return self.owner.key

    @property
    def object_name(self) -> str:
        """The name of the object that the call makes."""
        return object_name(self.owner)

    @property
    def saving(self) -> Saving:
        """The full copy that the call is about."""
        return Saving(self, self.repository, "libvirt")

    def domain(self) -> Domain:
        """Return the domain that the restore point was made of, or else the one that the node names.

        Somebody may have given it another name since; its UUID stays.

        Raises:
            ResourceNotFoundError: when there is none.
        """
        return self._domain_of(self.hypervisor)

    def domain_to_start(self) -> Domain:
        """Return the same by a connection that no other call can keep busy."""
        return self._domain_of(self._free_hypervisor)

    def domain_to_thaw(self) -> Domain:
        """Return the one that the node names, by such a connection, too."""
        return self.resource.find(self._free_hypervisor.domain)

    def wait_until(self, domain: Domain, happened: Callable[[], bool], what: str) -> None:
        """Return once *happened* says so, looking again whenever something happens to *domain*.

        Raises:
            OperationTimeoutError: when nobody waits for *what* any more.
        """
        deadline = Deadline(self.context, what, sleep=domain.events.sleep)
        deadline.until(lambda: True if happened() else None, longest_s=_LOOK_AGAIN_S)

    @property
    def _free_hypervisor(self) -> Hypervisor:
        return self.hypervisors.get((self.resource.uri, True))

    def _domain_of(self, hypervisor: Hypervisor) -> Domain:
        uuid = None if self.call.parameters.source else (self.call.artifact or {}).get("uuid")
        if isinstance(uuid, str):
            with contextlib.suppress(ResourceNotFoundError):
                return hypervisor.domain(uuid)
        return self.resource.find(hypervisor.domain)

    def require_local(self) -> None:
        """Return when the hypervisor's files can be reached.

        Raises:
            UnsupportedError: when it is another machine.
        """
        if not self.resource.is_local:
            raise UnsupportedError(
                f"{self.resource.uri} is another machine, and its QEMU can only write to its own disks",
                hint="Run quiesce on that machine for full backups; snapshots work from here.",
            )
