"""Follow an execution: live on a terminal, event lines elsewhere; and turn signals into a cancel."""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any, Final

from quiesce.cli.printing import say
from quiesce.model.execution import Execution
from quiesce.model.history import History
from quiesce.model.operation import Operation
from quiesce.model.plan import Plan, Role, Step
from quiesce.model.records import Record
from quiesce.planning import workflow_named
from quiesce.reports.escaping import printable
from quiesce.reports.events import Events, is_alarming
from quiesce.reports.json import render_json_line
from quiesce.reports.text import progress_text, seconds


class EventLines:
    """Prints each event as a line, in the format that users of ``cfy`` know, or as JSON.

    With *alarming_only* those of failures and warnings alone.
    """

    def __init__(self, *, as_json: bool = False, alarming_only: bool = False) -> None:
        self._as_json = as_json
        self._alarming_only = alarming_only
        self._broken = False

    def started(self, execution: Execution, plan: Plan) -> None:
        """Begin following *execution*."""
        self._events = Events(execution, plan, closing=workflow_named(plan.workflow).closing)

    def __call__(self, records: Sequence[Record]) -> None:
        """Print the lines of *records*; when the output is closed, the execution goes on."""
        if self._broken:
            return
        told = [record for record in records if not self._alarming_only or is_alarming(record)]
        lines = [event for record in told for event in self._events.of(record)]
        texts = [render_json_line("event", event) if self._as_json else str(event) for event in lines]
        try:
            if texts:
                sys.stdout.write("\n".join(texts) + "\n")
                sys.stdout.flush()
        except (OSError, ValueError):
            self._broken = True


class LiveProgress:
    """One line on a terminal: the group, its progress, how long things are frozen. Warnings stay above it."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.live import Live

        self._console = Console(stderr=True)
        self._history = History()
        self._plan: Plan | None = None
        self._broken = False
        self._live = Live(console=self._console, refresh_per_second=10, get_renderable=self._line)

    def started(self, execution: Execution, plan: Plan) -> None:
        """Begin following *execution*."""
        self._events = Events(execution, plan, closing=workflow_named(plan.workflow).closing)
        self._plan = plan
        with suppress(OSError):
            self._live.start()

    def stopped(self) -> None:
        """Remove the line."""
        with suppress(OSError, ValueError):
            self._live.stop()

    def __call__(self, records: Sequence[Record]) -> None:
        """Add *records*; the line is drawn from another thread."""
        for record in records:
            self._history.add(record)
            if is_alarming(record) and not self._broken:
                try:
                    for event in self._events.of(record):
                        self._console.print(str(event), style="yellow", markup=False, highlight=False)
                except (OSError, ValueError):
                    self._broken = True

    def _line(self) -> Any:
        from rich.text import Text

        if self._plan is None:
            return Text("planning")
        text = Text(f"{self._plan.workflow}: {self._where(self._plan)}")
        for what, debtor, state in _STATES:
            lasting = self._lasting_s(self._plan, what, debtor)
            if lasting is not None:
                text.append(f"  {state} for {seconds(lasting)}", style="bold red")
        return text

    def _where(self, plan: Plan) -> str:
        running = [s for s in plan.steps if self._is_running(s.id)]
        group = min((step.group for step in running), default=None)
        if group is None:
            return "waiting"
        members = [s for s in plan.steps if s.group == group and s.role is not Role.UNDO]
        done = sum(step.id in self._history.done for step in members)
        title = plan.groups[group].title
        return (
            f"{printable(title)}: {done} of {len(members)} done, {len(running)} running{self._moved(running)}"
        )

    def _moved(self, running: Sequence[Step]) -> str:
        told = [self._history.progress[step.id] for step in running if step.id in self._history.progress]
        if not told:
            return ""
        totals = [progress.total_bytes for progress in told]
        total = sum(filter(None, totals)) if len(told) == len(running) and None not in totals else None
        return f", {progress_text(sum(progress.done_bytes for progress in told), total)}"

    def _is_running(self, step: Any) -> bool:
        begun = self._history.begun_at.get(step, -1)
        return begun > self._history.done_at.get(step, -1) and step not in self._history.failed

    def _lasting_s(self, plan: Plan, what: Operation, debtor: Operation) -> float | None:
        if not any(step.operation is debtor for step in self._history.debts(plan)):
            return None
        firsts = [
            self._history.first_tick[s.id]
            for s in plan.steps
            if s.operation is what and s.id in self._history.first_tick
        ]
        return time.monotonic() - min(firsts) if firsts else None


_STATES: Final = (
    (Operation.FREEZE, Operation.THAW, "frozen"),
    (Operation.STOP, Operation.START, "stopped"),
)


class CheckLine:
    """One line on a terminal that says how far a check is; nothing anywhere else, and none is left behind."""

    def __init__(self, *, shown: bool) -> None:
        self._shown = shown

    def __call__(self, done_bytes: int, total_bytes: int | None) -> None:
        """Say that *done_bytes* were read."""
        if self._shown:
            with suppress(OSError, ValueError):
                sys.stderr.write(f"\r\x1b[Kchecking: {progress_text(done_bytes, total_bytes)}")
                sys.stderr.flush()

    def end(self) -> None:
        """Remove the line."""
        if self._shown:
            with suppress(OSError, ValueError):
                sys.stderr.write("\r\x1b[K")
                sys.stderr.flush()


class Signals:
    """Turns SIGINT, SIGTERM and SIGHUP into a cancel; a second one does not skip the thaw."""

    def __init__(self) -> None:
        self.reason: str | None = None
        self._wake: Callable[[], None] = lambda: None

    def on_wake(self, wake: Callable[[], None]) -> None:
        """Take the function that makes the engine look."""
        self._wake = wake

    def cancel_asked(self) -> str | None:
        """Return why to cancel; None: no signal came."""
        return self.reason

    @contextmanager
    def caught(self) -> Iterator[Signals]:
        """Catch the signals within the block."""
        numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
        before = {number: signal.signal(number, self._handle) for number in numbers}
        try:
            yield self
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        del frame
        if self.reason is None:
            self.reason = f"it was cancelled by {signal.Signals(number).name}"
        else:
            with suppress(OSError, RuntimeError):
                say("quiesce: still thawing; this cannot be skipped", err=True)
        self._wake()
