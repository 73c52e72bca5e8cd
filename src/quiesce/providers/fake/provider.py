"""Answers the provider port from a `FakeWorld` in memory."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Final, assert_never

from quiesce.errors import NonRecoverableError, OperationTimeoutError, RecoverableError
from quiesce.model.call import Call
from quiesce.model.operation import Operation
from quiesce.model.outcome import NOTHING, Outcome
from quiesce.ports import Context, ProviderSettings
from quiesce.provider_kit.dispatch import PlatformProvider
from quiesce.provider_kit.options import read_options
from quiesce.providers.fake import DESCRIPTION
from quiesce.providers.fake.machine import FakeJob, FakeMachine, claimed
from quiesce.providers.fake.options import FakeOptions
from quiesce.providers.fake.world import FakeMisbehaviour, FakeWorld

_MAKES: Final = (Operation.SNAPSHOT, Operation.COPY)


class FakeProvider(PlatformProvider[FakeJob]):
    """A data centre in memory; *world* is shared by all providers that should see the same one."""

    def __init__(
        self,
        settings: ProviderSettings | None = None,
        world: FakeWorld | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.settings = settings
        self.world = world or FakeWorld()
        self._sleep = sleep
        super().__init__(DESCRIPTION, {kind.name: FakeMachine(self.world) for kind in DESCRIPTION.kinds})

    def job(self, call: Call, context: Context) -> FakeJob:
        """Return the call with its options."""
        options = read_options(FakeOptions, "fake", call)
        return FakeJob(call=call, context=context, options=options, kind=self.kind_of(call))

    def perform(self, call: Call, context: Context) -> Outcome:
        """Perform one operation, or fail as the world says."""
        job = self.job(call, context)
        if job.options.seconds > 0:
            self._sleep(job.options.seconds)
        with self.world.lock:
            self.world.run_timers()
            misbehaviour = self.world.misbehaviour_of(call.operation, call.instance)
            if misbehaviour is not None:
                return self._misbehave(misbehaviour, job)
            outcome = self._effect(job)
            self.world.let_late_effects_happen(call.instance)
            return outcome

    def is_frozen(self, call: Call, context: Context) -> bool | None:
        """Tell whether the instance is frozen now."""
        with self.world.lock:
            self.world.run_timers()
            return super().is_frozen(call, context)

    def close(self) -> None:
        """Nothing to give back."""

    def _effect(self, job: FakeJob) -> Outcome:
        self.world.effects.append((job.call.operation, job.call.instance))
        return self.answer(job.call, job)

    def _misbehave(self, misbehaviour: FakeMisbehaviour, job: FakeJob) -> Outcome:
        call = job.call
        match misbehaviour:
            case FakeMisbehaviour.RECOVERABLE:
                raise RecoverableError(f"{call.instance} is busy")
            case FakeMisbehaviour.PERMANENT:
                raise NonRecoverableError(f"{call.instance} cannot {call.operation}")
            case FakeMisbehaviour.LIE:
                return claimed(job) if call.operation in _MAKES else NOTHING
            case FakeMisbehaviour.MUTE:
                self._effect(job)
            case FakeMisbehaviour.LATE:
                self.world.owe(call.instance, lambda: self._effect(job))
            case FakeMisbehaviour.HANG:
                self._sleep(job.context.remaining_s())
            case FakeMisbehaviour.SLOW:
                self._sleep(math.inf)
            case unknown:
                assert_never(unknown)
        raise OperationTimeoutError(f"{call.instance} gave no answer to {call.operation}")
