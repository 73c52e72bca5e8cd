"""Whether a restored machine runs, and whether its guest answers where it can be asked.

What was looked at is told: a machine that says it runs is not an application that works.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from quiesce.errors import OperationTimeoutError, ProbeFailedError
from quiesce.model.outcome import Outcome
from quiesce.provider_kit.job import Job

#: how long what ran at the cut may take to run again, in seconds
_RUNNING_S: Final = 60.0
#: how long a guest that does not have to answer is waited for, in seconds
_ANSWER_S: Final = 30.0
_PAUSE_S: Final = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class SeenMachine:
    """A machine, as its platform shows it."""

    name: str
    running: bool
    #: in the platform's own words
    state: str
    #: why it will never run by itself; empty: it may
    broken: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class MachineProbe:
    """How one kind of machine is asked."""

    #: who shows it: ``libvirt``
    platform: str
    look: Callable[[], SeenMachine]
    #: whether it ran at the cut; None: that is not known
    should_run: bool | None = None
    #: returns why its guest does not answer; empty: it does. None: there is nobody in it to ask
    ask: Callable[[], str] | None = None
    #: who is asked in it: ``its guest agent``
    asked: str = ""
    #: true: its guest has to answer; false: it is not asked; None: it is asked, and may be silent
    wanted: bool | None = None


def probe_machine(job: Job, probe: MachineProbe) -> Outcome:
    """Return when the machine runs and its guest answers, and tell what was looked at.

    One that was off at the cut may be off; a guest that does not have to answer may be silent.

    Raises:
        ProbeFailedError: when it should run and does not, or has to answer and does not, or cannot.
    """
    seen = _settled(job, probe)
    told = f"{probe.platform} says that {seen.name} is {seen.state}"
    if not seen.running:
        return Outcome(note=f"{told}, so nothing in it was asked")
    if probe.wanted and probe.ask is None:
        raise ProbeFailedError(f"{told}, but there is no way to ask {probe.asked}, which has to answer")
    if probe.wanted is False or probe.ask is None:
        return Outcome(note=f"{told}; nothing in it was asked")
    reason = _why_silent(job, probe.ask, None if probe.wanted else _ANSWER_S)
    if not reason:
        return Outcome(note=f"{told}, and {probe.asked} answers")
    if probe.wanted:
        raise ProbeFailedError(f"{told}, but {probe.asked} does not answer: {reason}")
    return Outcome(note=f"{told}; {probe.asked} has not answered yet: {reason}")


def _settled(job: Job, probe: MachineProbe) -> SeenMachine:
    """Return the machine once it runs, or when it need not."""
    ends = time.monotonic() + _RUNNING_S
    while True:
        seen = probe.look()
        if seen.broken:
            raise ProbeFailedError(f"{probe.platform} says that {seen.name} is {seen.state}: {seen.broken}")
        if seen.running or not probe.should_run:
            return seen
        if time.monotonic() >= ends or not _pause(job):
            raise ProbeFailedError(
                f"{seen.name} ran at the cut; {probe.platform} says that it is {seen.state}",
                hint="Look at its console, and at what its platform says about its last start.",
            )


def _why_silent(job: Job, ask: Callable[[], str], patience_s: float | None) -> str:
    ends = None if patience_s is None else time.monotonic() + patience_s
    while reason := ask():
        if (ends is not None and time.monotonic() >= ends) or not _pause(job):
            return reason
    return ""


def _pause(job: Job) -> bool:
    """Wait for a moment; false when nobody would wait for what comes after it."""
    try:
        job.deadline("the machine").pause(_PAUSE_S)
    except OperationTimeoutError:
        return False
    return job.context.remaining_s() > _PAUSE_S
