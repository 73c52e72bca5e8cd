"""Suspend, resume, and bringing a restored machine into the power state that was asked for."""

from __future__ import annotations

import contextlib

from quiesce.errors import ResourceNotFoundError
from quiesce.model.outcome import NOTHING, Outcome
from quiesce.providers.vsphere.center import Machine, Power
from quiesce.providers.vsphere.job import Job
from quiesce.providers.vsphere.options import PowerAfter


def suspend(job: Job) -> Outcome:
    """Suspend the machine; one that is off stays off."""
    machine = job.settled()
    if machine.power is Power.ON:
        job.center.suspend(machine.id, job.context)
    elif machine.power is Power.OFF:
        return Outcome(note=f"{machine.name} is switched off, so there was nothing to suspend")
    return NOTHING


def resume(job: Job) -> Outcome:
    """Let a suspended machine go on; one that is off stays off."""
    machine = job.settled()
    if machine.power is Power.SUSPENDED:
        job.center.power_on(machine.id, job.context)
    elif machine.power is Power.OFF:
        return Outcome(note=f"{machine.name} is switched off, not suspended, and was left so")
    return NOTHING


def switch_off(job: Job, machine: Machine) -> None:
    """Switch the machine off at once, suspended or not."""
    if machine.power is not Power.OFF:
        job.center.power_off(machine.id, job.context)


def destroy(job: Job, machine: Machine) -> None:
    """Switch the machine off and destroy it with its disks; fine when it is gone already."""
    with contextlib.suppress(ResourceNotFoundError):
        switch_off(job, job.center.settle(machine.id, job.context))
        job.center.destroy(machine.id, job.context)


def leave_running(job: Job, machine_id: str) -> None:
    """Start the machine unless it runs."""
    if job.center.machine(machine_id).power is not Power.ON:
        job.center.power_on(machine_id, job.context)


def leave_as_asked(job: Job, machine_id: str, at_cut: Power) -> str:
    """Bring a restored machine into its power state; return a note when that is not quite possible."""
    wanted = _wanted(job, at_cut)
    machine = job.center.machine(machine_id)
    if wanted is machine.power:
        return ""
    if wanted is Power.SUSPENDED:
        return f"{machine.name} was suspended at the cut and is {machine.power} now"
    if wanted is Power.ON:
        job.center.power_on(machine.id, job.context)
    else:
        job.center.power_off(machine.id, job.context)
    return ""


def _wanted(job: Job, at_cut: Power) -> Power:
    match job.options.power_after:
        case PowerAfter.ON:
            return Power.ON
        case PowerAfter.OFF:
            return Power.OFF
        case PowerAfter.AS_AT_CUT:
            return at_cut
