"""One call with what every provider needs of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from quiesce.backups import BackupKey
from quiesce.model.call import Call
from quiesce.model.ids import BackupName, Json
from quiesce.model.operation import FS_PREPARE
from quiesce.model.records import Level
from quiesce.ports import Context
from quiesce.provider_kit.deadline import Deadline
from quiesce.provider_kit.ownership import point_of


def saved_call(call: Call) -> Call:
    """Return *call* as whoever has saved its restore point would be given it."""
    origin = call.origin
    if origin is None:
        return call
    return replace(
        call,
        origin=None,
        deployment=origin.deployment,
        instance=origin.instance,
        node=origin.node,
        properties=origin.properties,
        runtime_properties=origin.runtime_properties,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A call and its context; providers derive theirs and add a client and the options."""

    call: Call
    context: Context

    @property
    def point(self) -> BackupName:
        """The restore point's name.

        Raises:
            NonRecoverableError: when the call names none.
        """
        return point_of(self.call)

    @property
    def place(self) -> BackupKey:
        """Where this instance's full copy lies in a repository."""
        return BackupKey(deployment=self.call.deployment, point=self.point, instance=self.call.instance)

    @property
    def frozen_by_hook(self) -> bool:
        """Whether the blueprint freezes this very node around the cut."""
        return FS_PREPARE in self.call.node.operations.keys() - self.call.node.skip_actions

    def deadline(self, what: str) -> Deadline:
        """Return the time that is left for waiting for *what*."""
        return Deadline(self.context, what)

    def say(self, message: str) -> None:
        """Tell the operator."""
        self.context.log(Level.INFO, message)

    def warn(self, message: str) -> None:
        """Tell the operator what is less than was asked for."""
        self.context.log(Level.WARNING, message)


class RuntimeState:
    """What outlives the process about one instance: entries of its runtime properties.

    Every change is durable when the method returns.
    """

    def __init__(self, job: Job) -> None:
        self._context = job.context
        self._entries: dict[str, Json] = dict(job.call.runtime_properties)

    @property
    def entries(self) -> Mapping[str, Json]:
        """All of them."""
        return self._entries

    def read(self, name: str) -> Json:
        """Return an entry; None when there is none."""
        return self._entries.get(name)

    def write(self, **entries: Json) -> None:
        """Set entries; None removes one."""
        merged = self._entries | entries
        self._entries = {name: value for name, value in merged.items() if value is not None}
        self._context.set_runtime_properties(dict(self._entries))
