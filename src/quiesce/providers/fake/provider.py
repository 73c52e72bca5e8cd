"""Answers the provider port from a `World` in memory."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from typing import assert_never

from quiesce.errors import (
    ForeignObjectError,
    NonRecoverableError,
    OperationTimeoutError,
    RecoverableError,
    ResourceNotFoundError,
)
from quiesce.model.call import Call
from quiesce.model.operation import Operation
from quiesce.model.outcome import NOTHING, Outcome
from quiesce.model.records import Level
from quiesce.model.restore_point import Proof
from quiesce.ports import Context, Finding, ProviderSettings
from quiesce.providers.fake.world import Misbehaviour, Thing, World


class FakeProvider:
    """A data centre in memory; *world* is shared by all providers that should see the same one."""

    def __init__(
        self,
        settings: ProviderSettings | None = None,
        world: World | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.settings = settings
        self.world = world or World()
        self._sleep = sleep

    def perform(self, call: Call, context: Context) -> Outcome:
        """Perform one operation; a node property ``seconds`` says how long each takes (default 0)."""
        seconds = call.properties.get("seconds", 0)
        if isinstance(seconds, int | float) and seconds > 0:
            self._sleep(seconds)
        with self.world.lock:
            self.world.run_timers()
            misbehaviour = self.world.misbehaviour_of(call.operation, call.instance)
            if misbehaviour is not None:
                return self._misbehave(misbehaviour, call, context)
            outcome = self._perform(call, context)
            self._let_late_effects_happen(call.instance)
            return outcome

    def is_frozen(self, call: Call, context: Context) -> bool | None:  # noqa: ARG002  the port's shape
        """Tell whether the instance is frozen now."""
        with self.world.lock:
            self.world.run_timers()
            return call.instance in self.world.frozen

    def examine(self, call: Call, context: Context) -> Sequence[Finding]:  # noqa: ARG002  the port's shape
        """Return one finding: the machine is there."""
        return [Finding(check="machine", passed=True, detail=f"{call.instance} is there")]

    def verify(self, call: Call, context: Context) -> Proof:  # noqa: ARG002  the port's shape
        """Check that the object is there and complete."""
        thing = self.world.things.get(_name(call))
        return Proof(at=0.0, kind="checksums", passed=thing is not None and thing.complete)

    def close(self) -> None:
        """Nothing to give back."""

    def _misbehave(self, misbehaviour: Misbehaviour, call: Call, context: Context) -> Outcome:
        match misbehaviour:
            case Misbehaviour.RECOVERABLE:
                raise RecoverableError(f"{call.instance} is busy")
            case Misbehaviour.PERMANENT:
                raise NonRecoverableError(f"{call.instance} cannot {call.operation}")
            case Misbehaviour.LIE:
                return _claimed(call)
            case Misbehaviour.MUTE:
                self._perform(call, context)
            case Misbehaviour.LATE:
                self._owe(call, context)
            case Misbehaviour.HANG:
                self._sleep(context.remaining_s())
            case Misbehaviour.SLOW:
                self._sleep(math.inf)
            case unknown:
                assert_never(unknown)
        raise OperationTimeoutError(f"{call.instance} gave no answer to {call.operation}")

    def _owe(self, call: Call, context: Context) -> None:
        effects = self.world.late.setdefault(call.instance, [])
        effects.append(lambda: _ignore(self._perform(call, context)))

    def _let_late_effects_happen(self, instance: str) -> None:
        for effect in self.world.late.pop(instance, []):
            effect()

    def _perform(self, call: Call, context: Context) -> Outcome:
        self.world.effects.append((call.operation, call.instance))
        match call.operation:
            case Operation.FREEZE:
                self._freeze(call)
            case Operation.THAW:
                self._thaw(call)
            case Operation.SUSPEND | Operation.RESUME:
                self._switch(call)
            case Operation.SNAPSHOT | Operation.COPY:
                return self._snapshot(call, context)
            case Operation.APPLY | Operation.DELETE:
                self._apply_or_delete(call)
            case Operation.MEASURE:
                return Outcome(measurements={"cpu_percent": 1.5, "memory_bytes": 1 << 20})
            case unknown:
                assert_never(unknown)
        return NOTHING

    def _switch(self, call: Call) -> None:
        if call.operation is Operation.SUSPEND:
            self.world.suspended.add(call.instance)
        else:
            self.world.suspended.discard(call.instance)

    def _apply_or_delete(self, call: Call) -> None:
        if call.operation is Operation.APPLY:
            self.world.contents[call.instance] = self._thing(call).content
        else:
            self._delete(call)

    def _freeze(self, call: Call) -> None:
        if call.thaw_after_s is not None:
            self.world.timers[call.instance] = self.world.tick() + call.thaw_after_s
        if call.instance not in self.world.frozen:
            self.world.freezes[call.instance] = self.world.freezes.get(call.instance, 0) + 1
        self.world.frozen.add(call.instance)

    def _thaw(self, call: Call) -> None:
        self.world.frozen.discard(call.instance)  # not remove(): already thawed is thawed
        self._let_late_effects_happen(call.instance)
        self.world.frozen.discard(call.instance)
        self.world.timers.pop(call.instance, None)

    def _snapshot(self, call: Call, context: Context) -> Outcome:
        name = _name(call)
        thing = self.world.things.get(name)
        if thing is not None and thing.maker != call.execution:
            raise ForeignObjectError(f"{name} exists and was made by {thing.maker or 'somebody else'}")
        if thing is None and call.operation is Operation.COPY:
            raise ResourceNotFoundError(f"the cut {name} is gone")
        if thing is None:
            content = self.world.contents.get(call.instance, "")
            thing = Thing(
                instance=call.instance,
                maker=call.execution,
                content=content,
                complete=not call.full,
                full=call.full,
            )
            self.world.things[name] = thing
        if call.operation is Operation.COPY:
            thing.complete = True
            context.log(Level.INFO, f"copied {name}")
        return _claimed(call)

    def _delete(self, call: Call) -> None:
        self._let_late_effects_happen(call.instance)
        thing = self.world.things.get(_name(call))
        if thing is None or thing.maker is None or (call.undo and thing.maker != call.execution):
            return
        del self.world.things[_name(call)]

    def _thing(self, call: Call) -> Thing:
        thing = self.world.things.get(_name(call))
        if thing is None or not thing.complete:
            raise ResourceNotFoundError(f"there is no complete {_name(call)}")
        return thing


def _name(call: Call) -> str:
    return f"{call.instance}-{call.point}"


def _claimed(call: Call) -> Outcome:
    if call.operation in (Operation.SNAPSHOT, Operation.COPY):
        return Outcome(artifact={"objects": [_name(call)]})
    return NOTHING


def _ignore(_: object) -> None:
    return None
