"""One call with everything that is needed to answer it."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass

from quiesce.backups import Backups
from quiesce.errors import ResourceNotFoundError
from quiesce.provider_kit.deadline import Deadline
from quiesce.provider_kit.job import Job, RuntimeState
from quiesce.providers.vsphere.endpoint import VCenterEndpoint, endpoint_of, lookup_of
from quiesce.providers.vsphere.inventory import VirtualMachine
from quiesce.providers.vsphere.options import VSphereOptions
from quiesce.providers.vsphere.vcenter import VCenter


@dataclass(frozen=True, slots=True, kw_only=True)
class VSphereJob(Job):
    """A call, the way to its vCenter, and what the operator chose."""

    options: VSphereOptions
    repository: Backups
    connect: Callable[[VCenterEndpoint], VCenter]
    state: RuntimeState

    @property
    def vcenter(self) -> VCenter:
        """The vCenter that the call's node lies on.

        Raises:
            NonRecoverableError: when its ``connection_config`` does not say.
        """
        return self.connect(endpoint_of(self.call))

    @property
    def time(self) -> Deadline:
        """The time that is left for waiting for vCenter."""
        return self.deadline("vCenter")

    def machine_id(self) -> str:
        """Return the id of the instance's machine.

        Raises:
            ResourceNotFoundError: when there is none.
        """
        return self.vcenter.find(lookup_of(self.call), self.time)

    def machine(self) -> VirtualMachine:
        """Return the instance's machine as it is now."""
        return self.vcenter.machine(self.machine_id(), self.time)

    def idle_machine(self) -> VirtualMachine:
        """Return the instance's machine once no task runs on it: not even one of a process that died."""
        return self.vcenter.when_idle(self.machine_id(), self.time)

    def idle_machine_if_there(self) -> VirtualMachine | None:
        """Return the same, or None when the machine is gone."""
        try:
            return self.idle_machine()
        except ResourceNotFoundError:
            return None

    def machines_named(self, name: str) -> list[VirtualMachine]:
        """Return the machines of exactly that name, once no task runs on them.

        One that is gone by then, because a process that died had begun to destroy it, is left out.
        """
        found = []
        for machine in self.vcenter.machines_named(name, self.time):
            with contextlib.suppress(ResourceNotFoundError):
                found.append(self.vcenter.when_idle(machine, self.time))
        return found
