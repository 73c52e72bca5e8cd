"""Suspend, resume, and bringing a restored machine into the power state that was asked for."""

from __future__ import annotations

import contextlib
from typing import assert_never

from quiesce.errors import ResourceNotFoundError
from quiesce.model.outcome import NOTHING, Outcome
from quiesce.provider_kit.power_debt import PowerDebt
from quiesce.providers.vsphere.inventory import PowerState, VirtualMachine
from quiesce.providers.vsphere.job import VSphereJob
from quiesce.providers.vsphere.options import PowerAfter


def suspend(job: VSphereJob) -> Outcome:
    """Suspend the machine; one that is off stays off."""
    machine = job.idle_machine()
    if machine.power is PowerState.ON:
        job.vcenter.suspend(machine.id, job.time)
    elif machine.power is PowerState.OFF:
        return Outcome(note=f"{machine.name} is switched off, so there was nothing to suspend")
    return NOTHING


def resume(job: VSphereJob) -> Outcome:
    """Let a suspended machine go on; one that is off stays off."""
    machine = job.idle_machine()
    if machine.power is PowerState.SUSPENDED:
        job.vcenter.power_on(machine.id, job.time)
    elif machine.power is PowerState.OFF:
        return Outcome(note=f"{machine.name} is switched off, not suspended, and was left so")
    return NOTHING


def switch_off(job: VSphereJob, machine: VirtualMachine) -> None:
    """Switch the machine off at once, suspended or not."""
    if machine.power is not PowerState.OFF:
        job.vcenter.power_off(machine.id, job.time)


def switch_off_to_restore(job: VSphereJob, machine: VirtualMachine) -> None:
    """Switch the machine off; one that runs is owed its power from now on."""
    if machine.power is PowerState.ON:
        PowerDebt(job.state).begin()
    switch_off(job, machine)


def switch_on(job: VSphereJob) -> Outcome:
    """Start the machine when a restore has switched it off, and has not come to its end."""
    debt = PowerDebt(job.state)
    if not debt.is_owed:
        return NOTHING
    machine = job.idle_machine_if_there()
    if machine is not None:
        leave_running(job, machine.id)
    debt.end()
    if machine is None:
        return Outcome(note="the machine is not there, so there is nothing to switch on")
    return Outcome(note=f"{machine.name} was switched off by a restore and is on again")


def destroy(job: VSphereJob, machine: VirtualMachine) -> None:
    """Switch the machine off and destroy it with its disks; fine when it is gone already."""
    with contextlib.suppress(ResourceNotFoundError):
        switch_off(job, job.vcenter.when_idle(machine.id, job.time))
        job.vcenter.destroy(machine.id, job.time)


def leave_running(job: VSphereJob, machine_id: str) -> None:
    """Start the machine unless it runs."""
    if job.vcenter.machine(machine_id, job.time).power is not PowerState.ON:
        job.vcenter.power_on(machine_id, job.time)


def leave_as_asked(job: VSphereJob, machine_id: str, at_cut: PowerState) -> str:
    """Bring a restored machine into its power state; return a note when that is not quite possible."""
    note = _brought(job, machine_id, _wanted(job, at_cut))
    PowerDebt(job.state).end()
    return note


def _brought(job: VSphereJob, machine_id: str, wanted: PowerState) -> str:
    machine = job.vcenter.machine(machine_id, job.time)
    if wanted is machine.power:
        return ""
    if wanted is PowerState.SUSPENDED:
        return f"{machine.name} was suspended at the cut and is {machine.power} now"
    if wanted is PowerState.ON:
        job.vcenter.power_on(machine.id, job.time)
    else:
        job.vcenter.power_off(machine.id, job.time)
    return ""


def _wanted(job: VSphereJob, at_cut: PowerState) -> PowerState:
    match job.options.power_after:
        case PowerAfter.ON:
            return PowerState.ON
        case PowerAfter.OFF:
            return PowerState.OFF
        case PowerAfter.AS_AT_CUT:
            return at_cut
        case unknown:
            assert_never(unknown)
