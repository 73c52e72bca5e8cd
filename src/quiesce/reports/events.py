"""Records as event lines, in the format that users of ``cfy`` know."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import assert_never

from quiesce.model.execution import Execution
from quiesce.model.ids import StepId
from quiesce.model.operation import Operation
from quiesce.model.plan import Plan, Role, Step
from quiesce.model.records import (
    Aborted,
    Begun,
    Done,
    Ended,
    Ending,
    Failed,
    Level,
    Logged,
    Progressed,
    Record,
    Started,
)
from quiesce.reports.escaping import printable, printable_lines
from quiesce.reports.text import figures_text


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One line."""

    #: seconds since the epoch
    at: float
    #: ``CFY`` for what the engine does, ``LOG`` for what operations say
    kind: str
    deployment: str
    #: ``vm_ab12cd``, ``vm_ab12cd.create``, or nothing
    context: str
    message: str

    def __str__(self) -> str:
        moment = dt.datetime.fromtimestamp(self.at)  # noqa: DTZ006  local time, as cfy shows it
        stamp = moment.strftime("%Y-%m-%d %H:%M:%S.") + f"{moment.microsecond // 1000:03d}"
        context = f" [{printable(self.context)}]" if self.context else ""
        message = printable_lines(self.message)
        return f"{stamp}  {self.kind} <{printable(self.deployment)}>{context} {message}"


class Events:
    """Renders the records of one execution."""

    def __init__(self, execution: Execution, plan: Plan, *, closing: str = "") -> None:
        """Render what *execution* of *plan* did; *closing* begins the last log line of a success."""
        self._execution = execution
        self._closing = closing
        self._plan = plan
        self._steps: Mapping[StepId, Step] = {step.id: step for step in plan.steps}

    def of(self, record: Record) -> Iterator[Event]:
        """Give the lines that tell *record*."""
        match record:
            case Begun():
                yield from self._begun(record)
            case Done():
                yield from self._done(record)
            case Failed():
                yield from self._failed(record)
            case Logged():
                text = f"{record.level.upper()}: {record.message}"
                yield self._line(record, "LOG", self._task(record.step), text)
            case Progressed():
                return  # for live displays only
            case Started() | Aborted() | Ended():
                yield from self._whole(record)
            case unknown:
                assert_never(unknown)

    def _whole(self, record: Started | Aborted | Ended) -> Iterator[Event]:
        name = f"'{self._plan.workflow}' workflow execution"
        match record:
            case Started(turn=1):
                yield self._line(record, "CFY", "", f"Starting {name}")
            case Started():
                yield self._line(record, "CFY", "", f"Resuming {name} ({record.by})")
            case Aborted():
                word = "Cancelling" if record.cancelled else "Failing"
                yield self._line(record, "CFY", "", f"{word} {name}: {record.message}")
            case Ended():
                yield from self._ended(record, name)

    def _ended(self, record: Ended, name: str) -> Iterator[Event]:
        if record.ending is not Ending.COMPLETED:
            text = f"{name} {record.ending}" + (f": {record.message}" if record.message else "")
            yield self._line(record, "CFY", "", text)
            return
        point = self._plan.parameters.snapshot_name
        if point is not None and self._closing:
            yield self._line(record, "LOG", "", f"INFO: {self._closing} '{point}'")
        yield self._line(record, "CFY", "", f"{name} succeeded")

    def _begun(self, record: Begun) -> Iterator[Event]:
        step = self._steps[record.step]
        again = f" [retry {record.attempt - 1}]" if record.attempt > 1 else ""
        if record.attempt == 1:
            yield self._line(record, "CFY", step.instance, f"Starting to {shown_operation(step)}")
        for word in ("Sending task", "Task started"):
            yield self._line(record, "CFY", self._task(step.id), f"{word} '{step.function}'{again}")

    def _done(self, record: Done) -> Iterator[Event]:
        step = self._steps[record.step]
        if record.outcome.measurements:
            figures = figures_text(record.outcome.measurements)
            yield self._line(record, "LOG", self._task(step.id), f"INFO: {figures}")
        yield self._line(record, "CFY", self._task(step.id), f"Task succeeded '{step.function}'")
        if record.outcome.note:
            level = "WARNING" if record.outcome.lowers else "INFO"
            yield self._line(record, "LOG", self._task(step.id), f"{level}: {record.outcome.note}")
        yield self._line(record, "CFY", step.instance, f"Done {shown_operation(step)}")

    def _failed(self, record: Failed) -> Iterator[Event]:
        step = self._steps[record.step]
        later = f" [retry in {record.retry_in_s:g} s]" if record.retry_in_s is not None else ""
        if record.passed_over:
            later = " [skipped]"
        yield self._line(
            record, "CFY", self._task(step.id), f"Task failed '{step.function}' -> {record.message}{later}"
        )

    def _task(self, step_id: StepId | None) -> str:
        step = self._steps.get(step_id) if step_id is not None else None
        return f"{step.instance}.{step.interface.rsplit('.', 1)[1]}" if step is not None else ""

    def _line(self, record: Record, kind: str, context: str, message: str) -> Event:
        return Event(
            at=record.at,
            kind=kind,
            deployment=self._execution.deployment,
            context=context,
            message=message,
        )


def shown_operation(step: Step) -> str:
    """Return the name under which events show *step*: full, but for the deprecated ones."""
    name = step.interface
    if ".lifecycle." in name:
        name = name.rsplit(".", 1)[1]
    if step.operation is Operation.COPY:
        return f"{name} (copy)"
    return f"{name} (undo)" if step.role is Role.UNDO else name


def is_alarming(record: Record) -> bool:
    """Tell whether *record* is shown even in quiet mode."""
    return isinstance(record, Failed | Aborted) or (
        isinstance(record, Logged) and record.level in (Level.WARNING, Level.ERROR)
    )
