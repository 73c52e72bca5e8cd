"""What the fake data centre holds, and how it misbehaves. It outlives providers, as a platform does."""

from __future__ import annotations

import enum
import threading
from collections.abc import Callable
from dataclasses import dataclass, field

from quiesce.model.former_state import Side
from quiesce.model.ids import BackupName, ExecutionId
from quiesce.model.operation import Operation


class FakeMisbehaviour(enum.StrEnum):
    """The ways in which the world fails."""

    #: it does nothing and says so; asking again may help
    RECOVERABLE = "recoverable"
    #: it does nothing and says so; asking again cannot help
    PERMANENT = "permanent"
    #: it happened, but nobody told us: effect, then a time-out
    MUTE = "mute"
    #: a time-out first; the effect comes when the next operation on that instance is over
    LATE = "late"
    #: no answer before the call's time is over, and no effect
    HANG = "hang"
    #: no answer before the call is given up; then it happens after all
    SLOW = "slow"
    #: it says that it was done, and did nothing
    LIE = "lie"


@dataclass(frozen=True, slots=True, kw_only=True)
class FakeFault:
    """*times* calls of *operation* (on *instance*, or on any) misbehave."""

    operation: Operation
    misbehaviour: FakeMisbehaviour
    instance: str | None = None
    times: int = 1


@dataclass(slots=True, kw_only=True)
class FakeThing:
    """An object that a snapshot or a backup left on the platform."""

    instance: str
    #: the execution that made it; None when quiesce did not
    maker: str | None
    content: str
    complete: bool
    full: bool


@dataclass(slots=True, kw_only=True)
class FakeFormer:
    """What a restore has replaced, and keeps."""

    execution: ExecutionId
    point: BackupName | None
    content: str
    succeeded: bool = False
    kept: Side = Side.FORMER


@dataclass(slots=True, kw_only=True)
class FakeWorld:
    """The state of every machine, and every object made of them."""

    contents: dict[str, str] = field(default_factory=dict)
    frozen: set[str] = field(default_factory=set)
    suspended: set[str] = field(default_factory=set)
    stopped: set[str] = field(default_factory=set)
    #: what was copied ahead, and no cut has used yet
    prepared: set[str] = field(default_factory=set)
    things: dict[str, FakeThing] = field(default_factory=dict)
    #: what restores have replaced, by instance
    former: dict[str, FakeFormer] = field(default_factory=dict)
    #: what was written elsewhere, by instance
    extracted: dict[str, str] = field(default_factory=dict)
    faults: list[FakeFault] = field(default_factory=list)
    #: every effect in order, repetitions included
    effects: list[tuple[Operation, str]] = field(default_factory=list)
    #: node-side timers: the tick at which an instance thaws by itself
    timers: dict[str, float] = field(default_factory=dict)
    #: effects that are still to come, by instance
    late: dict[str, list[Callable[[], object]]] = field(default_factory=dict)
    #: instances and how often each was frozen and thawed while it was not already
    freezes: dict[str, int] = field(default_factory=dict)
    lock: threading.RLock = field(default_factory=threading.RLock)
    #: called where an APPLY has switched a machine off, and not on again yet
    while_off: Callable[[], None] = lambda: None
    #: the machine's own clock, for its timers
    tick: Callable[[], float] = lambda: 0.0

    def misbehaviour_of(self, operation: Operation, instance: str) -> FakeMisbehaviour | None:
        """Return how this call is to fail, using up one of the fault's times."""
        for index, fault in enumerate(self.faults):
            if fault.operation is operation and fault.instance in (None, instance):
                self._use_up(index, fault)
                return fault.misbehaviour
        return None

    def run_timers(self) -> None:
        """Let every node-side timer that is due thaw its node."""
        now = self.tick()
        for instance in [name for name, due in self.timers.items() if due <= now]:
            del self.timers[instance]
            self.frozen.discard(instance)

    def owe(self, instance: str, effect: Callable[[], object]) -> None:
        """Let *effect* happen when the next operation on *instance* is over."""
        self.late.setdefault(instance, []).append(effect)

    def let_late_effects_happen(self, instance: str) -> None:
        """Let everything happen that *instance* still has to expect."""
        for effect in self.late.pop(instance, []):
            effect()

    def _use_up(self, index: int, fault: FakeFault) -> None:
        if fault.times <= 1:
            del self.faults[index]
        else:
            self.faults[index] = FakeFault(
                operation=fault.operation,
                misbehaviour=fault.misbehaviour,
                instance=fault.instance,
                times=fault.times - 1,
            )
