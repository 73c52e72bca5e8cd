"""What is owed of an execution, for people: instances that may be frozen or left stopped."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from quiesce.model.ids import InstanceId
from quiesce.model.operation import Operation
from quiesce.model.plan import Step


@dataclass(frozen=True, slots=True, kw_only=True)
class Owed:
    """Whose thaw and whose start are owed; false when nothing is."""

    #: instances that may be frozen
    frozen: tuple[InstanceId, ...] = ()
    #: instances that may be stopped, and would run without us
    stopped: tuple[InstanceId, ...] = ()

    @classmethod
    def of(cls, debts: Iterable[Step]) -> Owed:
        """Sort *debts* by what they are."""
        owed = sorted({(step.instance, step.operation is Operation.START) for step in debts})
        return cls(
            frozen=tuple(instance for instance, is_start in owed if not is_start),
            stopped=tuple(instance for instance, is_start in owed if is_start),
        )

    @property
    def instances(self) -> tuple[InstanceId, ...]:
        """Every one of them, once."""
        return tuple(dict.fromkeys((*self.frozen, *self.stopped)))

    def __bool__(self) -> bool:
        return bool(self.frozen or self.stopped)

    def __str__(self) -> str:
        told = {"NOT THAWED": self.frozen, "NOT STARTED": self.stopped}
        return "; ".join(f"{what}: {', '.join(names)}" for what, names in told.items() if names)
