"""Operations of a provider that runs, for each operation, what the blueprint names as its implementation."""

from __future__ import annotations

from abc import abstractmethod
from typing import Final

from quiesce.errors import ProviderError, UnsupportedError
from quiesce.model.ids import Json
from quiesce.model.operation import Operation
from quiesce.model.outcome import Outcome
from quiesce.model.restore_point import CHECKED, READ, Proof
from quiesce.model.words import WrongValueError, read_flag
from quiesce.provider_kit.dispatch import JobT, Operations
from quiesce.provider_kit.saving import proof

#: what such a provider can do; its snapshots are complete when the cut is over, so there is no COPY
IMPLEMENTED: Final = frozenset(
    {
        Operation.PREPARE,
        Operation.FREEZE,
        Operation.THAW,
        Operation.SUSPEND,
        Operation.RESUME,
        Operation.SNAPSHOT,
        Operation.APPLY,
        Operation.DELETE,
        Operation.REVERT,
        Operation.CONFIRM,
        Operation.EXTRACT,
        Operation.STOP,
        Operation.START,
        Operation.PROBE,
        Operation.VERIFY,
        Operation.MEASURE,
    }
)
#: said of a check that says nothing of itself
_NO_DETAIL: Final = "by the blueprint's own check"


class ImplementedOperations(Operations[JobT]):
    """A script, a function or a dialogue decides what is done; its result becomes the outcome."""

    @abstractmethod
    def run(self, job: JobT, /) -> Json:
        """Run what the blueprint names for the job's operation and return what it returned."""

    def prepare(self, job: JobT, /) -> Outcome:
        """Run what prepares."""
        return Outcome(result=self.run(job))

    def freeze(self, job: JobT, /) -> Outcome:
        """Run what freezes."""
        return Outcome(result=self.run(job))

    def thaw(self, job: JobT, /) -> Outcome:
        """Run what thaws."""
        return Outcome(result=self.run(job))

    def suspend(self, job: JobT, /) -> Outcome:
        """Run what suspends."""
        return Outcome(result=self.run(job))

    def resume(self, job: JobT, /) -> Outcome:
        """Run what resumes."""
        return Outcome(result=self.run(job))

    def snapshot(self, job: JobT, /) -> Outcome:
        """Run what makes the snapshot; its result is the artifact."""
        result = self.run(job)
        return Outcome(artifact=_named(result), result=result)

    def copy(self, job: JobT, /) -> Outcome:  # noqa: ARG002  an operation's shape
        """Refuse: planning asks for no copy where `IMPLEMENTED` has none."""
        raise UnsupportedError("what the blueprint names for a snapshot is complete when the cut is over")

    def apply(self, job: JobT, /) -> Outcome:
        """Run what restores."""
        return Outcome(result=self.run(job))

    def delete(self, job: JobT, /) -> Outcome:
        """Run what removes the snapshot."""
        return Outcome(result=self.run(job))

    def revert(self, job: JobT, /) -> Outcome:
        """Run what undoes a restore."""
        return Outcome(result=self.run(job))

    def confirm(self, job: JobT, /) -> Outcome:
        """Run what is to be done when a restore has succeeded."""
        return Outcome(result=self.run(job))

    def extract(self, job: JobT, /) -> Outcome:
        """Run what writes the restore point's data elsewhere."""
        return Outcome(result=self.run(job))

    def stop(self, job: JobT, /) -> Outcome:
        """Run what stops it before it is restored."""
        return Outcome(result=self.run(job))

    def start(self, job: JobT, /) -> Outcome:
        """Run what starts it again."""
        return Outcome(result=self.run(job))

    def probe(self, job: JobT, /) -> Outcome:
        """Run what tells that it answers."""
        return Outcome(result=self.run(job))

    def verify(self, job: JobT, /) -> Proof:
        """Run what checks the restore point; that it has read everything is only believed when it says so.

        Raises:
            ProviderError: when it could not be run, or asked to be run again: that is no answer.
        """
        try:
            told = _named(self.run(job))
        except ProviderError as error:
            if not error.own:
                raise
            return proof(CHECKED, damage=str(error))
        kind = READ if _flag(told.get("read")) else CHECKED
        return proof(kind, detail=str(told.get("detail", told.get("result", _NO_DETAIL))))

    def measure(self, job: JobT, /) -> Outcome:
        """Run what measures; its result is the figures."""
        result = self.run(job)
        return Outcome(measurements=_named(result), result=result)


def _flag(value: Json) -> bool:
    """Return a flag as scripts and terminals write it; what is none is no yes."""
    try:
        return read_flag(value.strip() if isinstance(value, str) else value)
    except WrongValueError:
        return False


def _named(result: Json) -> dict[str, Json]:
    """Return a result as a mapping, whatever it is; nothing as an empty one."""
    if isinstance(result, dict):
        return result
    return {} if result is None else {"result": result}
