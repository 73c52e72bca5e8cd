"""One call with everything that is needed to answer it."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass

from quiesce.errors import NonRecoverableError, ResourceNotFoundError
from quiesce.model.call import Call
from quiesce.model.ids import BackupName, Json
from quiesce.model.records import Level
from quiesce.ports import Context
from quiesce.providers.vsphere.center import Center, Machine
from quiesce.providers.vsphere.endpoints import lookup_of
from quiesce.providers.vsphere.options import Options
from quiesce.repository import BackupKey, Repository


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A call, its vCenter, and what the operator chose."""

    call: Call
    context: Context
    center: Center
    options: Options
    repository: Repository

    @property
    def artifact(self) -> Mapping[str, Json]:
        """What SNAPSHOT or COPY answered; empty when that was lost."""
        return self.call.artifact or {}

    @property
    def place(self) -> BackupKey:
        """Where this instance's full copy lies in the repository."""
        return BackupKey(deployment=self.call.deployment, point=self.point, instance=self.call.instance)

    @property
    def point(self) -> BackupName:
        """The restore point's name."""
        if self.call.point is None:
            raise NonRecoverableError(f"{self.call.interface} needs the name of a restore point")
        return self.call.point

    def machine_id(self) -> str:
        """Return the id of the instance's machine.

        Raises:
            ResourceNotFoundError: when there is none.
        """
        return self.center.find(lookup_of(self.call))

    def machine(self) -> Machine:
        """Return the instance's machine as it is now."""
        return self.center.machine(self.machine_id())

    def settled(self) -> Machine:
        """Return the instance's machine once no task runs on it: not even one of a process that died."""
        return self.center.settle(self.machine_id(), self.context)

    def settled_if_there(self) -> Machine | None:
        """Return the same, or None when the machine is gone."""
        try:
            return self.settled()
        except ResourceNotFoundError:
            return None

    def named(self, name: str) -> list[Machine]:
        """Return the machines of exactly that name, once no task runs on them.

        One that is gone by then, because a process that died had begun to destroy it, is left out.
        """
        found = []
        for machine in self.center.children(name):
            with contextlib.suppress(ResourceNotFoundError):
                found.append(self.center.settle(machine, self.context))
        return found

    def say(self, message: str) -> None:
        """Tell the operator."""
        self.context.log(Level.INFO, message)

    def warn(self, message: str) -> None:
        """Tell the operator what is less than asked for."""
        self.context.log(Level.WARNING, message)
