"""What a machine in the fake data centre does."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from quiesce.errors import ForeignObjectError, ProbeFailedError, ResourceNotFoundError
from quiesce.model.capabilities import Kind
from quiesce.model.former_state import FormerState, Side
from quiesce.model.outcome import NOTHING, Outcome
from quiesce.model.restore_point import Proof
from quiesce.ports import Finding
from quiesce.provider_kit.dispatch import CheckedOperations
from quiesce.provider_kit.job import Job
from quiesce.provider_kit.saving import proof
from quiesce.providers.fake.options import FakeOptions
from quiesce.providers.fake.world import FakeFormer, FakeThing, FakeWorld


@dataclass(frozen=True, slots=True, kw_only=True)
class FakeJob(Job):
    """A call and what was chosen for it."""

    options: FakeOptions
    kind: Kind

    @property
    def object_name(self) -> str:
        """The name of what the call makes or removes."""
        return f"{self.call.instance}-{self.call.point}"


class FakeMachine(CheckedOperations[FakeJob]):
    """Every method is called with the world's lock held."""

    def __init__(self, world: FakeWorld) -> None:
        self.world = world

    def prepare(self, job: FakeJob, /) -> Outcome:
        """Copy ahead what the cut then only adds to."""
        self.world.prepared.add(job.call.instance)
        return NOTHING

    def freeze(self, job: FakeJob, /) -> Outcome:
        """Arm the timer, then freeze."""
        call = job.call
        if call.thaw_after_s is not None:
            self.world.timers[call.instance] = self.world.tick() + call.thaw_after_s
        if call.instance not in self.world.frozen:
            self.world.freezes[call.instance] = self.world.freezes.get(call.instance, 0) + 1
        self.world.frozen.add(call.instance)
        return NOTHING

    def thaw(self, job: FakeJob, /) -> Outcome:
        """Thaw, after whatever is still on its way."""
        instance = job.call.instance
        self.world.frozen.discard(instance)  # not remove(): already thawed is thawed
        self.world.let_late_effects_happen(instance)
        self.world.frozen.discard(instance)
        self.world.timers.pop(instance, None)
        return NOTHING

    def suspend(self, job: FakeJob, /) -> Outcome:
        """Stop it."""
        self.world.suspended.add(job.call.instance)
        return NOTHING

    def resume(self, job: FakeJob, /) -> Outcome:
        """Let it go on."""
        self.world.suspended.discard(job.call.instance)
        return NOTHING

    def snapshot(self, job: FakeJob, /) -> Outcome:
        """Keep the content as it is now, unless this execution has done so already."""
        thing = self.world.things.get(job.object_name)
        self.world.prepared.discard(job.call.instance)  # it is part of the cut now
        if thing is None:
            self.world.things[job.object_name] = FakeThing(
                instance=job.call.instance,
                maker=job.call.execution,
                content=self.world.contents.get(job.call.instance, ""),
                complete=not job.call.full,
                full=job.call.full,
            )
        elif thing.maker != job.call.execution:
            maker = thing.maker or "somebody else"
            raise ForeignObjectError(f"{job.object_name} exists and was made by {maker}")
        return claimed(job)

    def copy(self, job: FakeJob, /) -> Outcome:
        """Complete the cut."""
        thing = self.world.things.get(job.object_name)
        if thing is None:
            raise ResourceNotFoundError(f"the cut {job.object_name} is gone")
        thing.complete = True
        job.say(f"copied {job.object_name}")
        return claimed(job)

    def apply(self, job: FakeJob, /) -> Outcome:
        """Put the content back."""
        thing = self.world.things.get(job.object_name)
        if thing is None or not thing.complete:
            raise ResourceNotFoundError(f"there is no complete {job.object_name}")
        self._keep_former(job)
        if job.kind.capabilities.switches_off:
            self.world.stopped.add(job.call.instance)
            self.world.while_off()
        self.world.contents[job.call.instance] = thing.content
        if job.kind.capabilities.switches_off:
            self.world.stopped.discard(job.call.instance)
        return NOTHING

    def revert(self, job: FakeJob, /) -> Outcome:
        """Exchange the content with the one that is kept, unless that is done already."""
        former = self.world.former.get(job.call.instance)
        if former is None:
            raise ResourceNotFoundError(f"nothing is kept of what a restore of {job.call.instance} replaced")
        wanted = job.call.parameters.undo_to
        if former.kept is wanted:
            present = self.world.contents.get(job.call.instance, "")
            self.world.contents[job.call.instance], former.content = former.content, present
            former.kept = Side.RESTORED if wanted is Side.FORMER else Side.FORMER
        return NOTHING

    def confirm(self, job: FakeJob, /) -> Outcome:
        """Keep what the restore has replaced until another one has succeeded, or forget it."""
        former = self.world.former.get(job.call.instance)
        if job.call.parameters.keep_undo_s == 0:
            self.world.former.pop(job.call.instance, None)
        elif former is not None and former.execution == job.call.execution:
            former.succeeded = True
        return NOTHING

    def extract(self, job: FakeJob, /) -> Outcome:
        """Put what the restore point holds elsewhere."""
        thing = self.world.things.get(job.object_name)
        if thing is None or not thing.complete:
            raise ResourceNotFoundError(f"there is no complete {job.object_name}")
        self.world.extracted[job.call.instance] = thing.content
        return NOTHING

    def former_state(self, job: FakeJob, /) -> FormerState | None:
        """Tell what is kept."""
        former = self.world.former.get(job.call.instance)
        if former is None:
            return None
        return FormerState(
            execution=former.execution,
            point=former.point,
            replaced_at=0.0,
            succeeded=former.succeeded,
            kept=former.kept,
            place="memory",
        )

    def _keep_former(self, job: FakeJob) -> None:
        """Keep what is there now, unless a restore that has not succeeded put it there."""
        call, before = job.call, self.world.former.get(job.call.instance)
        unfinished = before is not None and not before.succeeded and before.kept is Side.FORMER
        if before is not None and (unfinished or before.execution == call.execution):
            before.execution, before.point = call.execution, call.point
            return
        self.world.former[call.instance] = FakeFormer(
            execution=call.execution, point=call.point, content=self.world.contents.get(call.instance, "")
        )

    def delete(self, job: FakeJob, /) -> Outcome:
        """Remove what quiesce made, after whatever is still on its way."""
        self.world.let_late_effects_happen(job.call.instance)
        self.world.prepared.discard(job.call.instance)
        thing = self.world.things.get(job.object_name)
        if thing is None or thing.maker is None:
            return NOTHING
        if not job.call.undo or thing.maker == job.call.execution:
            del self.world.things[job.object_name]
        return NOTHING

    def stop(self, job: FakeJob, /) -> Outcome:
        """End it, and with it every freeze."""
        self.world.stopped.add(job.call.instance)
        return NOTHING

    def start(self, job: FakeJob, /) -> Outcome:
        """Let it run, after whatever is still on its way."""
        self.world.let_late_effects_happen(job.call.instance)
        self.world.stopped.discard(job.call.instance)
        return NOTHING

    def probe(self, job: FakeJob, /) -> Outcome:
        """Tell whether it runs and nothing holds it."""
        instance = job.call.instance
        for state, members in {"stopped": self.world.stopped, "frozen": self.world.frozen}.items():
            if instance in members:
                raise ProbeFailedError(f"{instance} is {state}")
        return NOTHING

    def measure(self, job: FakeJob, /) -> Outcome:
        """Return two figures."""
        return Outcome(measurements={"cpu_percent": 1.5, "memory_bytes": 1 << 20})

    def is_frozen(self, job: FakeJob, /) -> bool | None:
        """Tell whether it is frozen."""
        return job.call.instance in self.world.frozen

    def doctor(self, job: FakeJob, /) -> Sequence[Finding]:
        """Return one finding: the machine is there."""
        return [Finding(check="machine", passed=True, detail=f"{job.call.instance} is there")]

    def verify(self, job: FakeJob, /) -> Proof:
        """Check that the object is there and complete."""
        thing = self.world.things.get(job.object_name)
        complete = thing is not None and thing.complete
        return proof("presence", damage="" if complete else f"{job.object_name} is not complete")


def claimed(job: FakeJob) -> Outcome:
    """Return the answer that names the object."""
    return Outcome(artifact={"objects": [job.object_name]})
