"""Putting new disks where the old ones are. Every step brings about a state, so it may be done again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from quiesce.errors import ResourceNotFoundError
from quiesce.model.outcome import NOTHING, Outcome
from quiesce.providers.gcp import power
from quiesce.providers.gcp.copy.artifact import CopySet
from quiesce.providers.gcp.job import GcpJob
from quiesce.providers.gcp.references import Reference
from quiesce.providers.gcp.replaced import existing_disks, is_ours, remember, tidy
from quiesce.providers.gcp.resources import GcpMachine
from quiesce.providers.gcp.restore.disks import attachment_of, make_disks
from quiesce.providers.gcp.restore.intent import DiskExchange, RestoreIntent, begin, finish, unfinished
from quiesce.providers.gcp.target import CURRENT_DISK


def restore_in_place(job: GcpJob, made: CopySet, intent: RestoreIntent) -> Outcome:
    """Do what was written down, or what is left of it."""
    sources = {exchange.new: exchange.source for exchange in intent.exchanges}
    lost = make_disks(job, made, sources)
    old = existing_disks(job, (exchange.old for exchange in intent.exchanges))
    remember(job, [disk for disk in old if not is_ours(job, disk, intent.leftovers)])
    begin(job, replace(intent, stopping=True))
    for machine in intent.machines:
        power.stop(job.compute, machine, discard_local_ssd=job.options.discard_local_ssd)
        _exchange(job, machine, intent.of(machine))
    if not job.target.is_machine:
        job.state.write(**{CURRENT_DISK: next(iter(sources)).path})
    for machine in intent.restart:
        power.start(job.compute, machine)
    kept = tidy(job, old, intent.leftovers)
    finish(job)
    notes = [f"the replaced disks are kept: {', '.join(kept)}"] if kept else []
    return Outcome(note="; ".join([*notes, *lost]))


def switch_on(job: GcpJob) -> Outcome:
    """Start the machines that a restore has stopped, if it has not come to its end.

    A machine of which disks are detached already could not start, or not as one of one time: it gets all the
    new ones, which lie ready. One that somebody else has started meanwhile is not stopped for that.
    """
    intent = unfinished(job)
    if intent is None or not intent.stopping:
        return NOTHING
    found = {machine: _found(job, machine) for machine in intent.machines}
    off = [machine for machine, seen in found.items() if seen is not None and power.is_stopped(seen)]
    begun = {m: _has_begun(seen, intent.of(m)) for m, seen in found.items() if seen is not None}
    for machine in off:
        if begun[machine]:
            _exchange(job, machine, intent.of(machine))
    started = [machine for machine in intent.restart if machine in off]
    for machine in started:
        power.start(job.compute, machine)
    begin(job, replace(intent, stopping=False))
    mixed = [machine for machine, partly in begun.items() if partly and machine not in off]
    gone = [machine for machine in intent.restart if found.get(machine) is None]
    return Outcome(
        note="; ".join(
            f"{what}: {', '.join(machine.name for machine in machines)}"
            for what, machines in (
                ("stopped by a restore and started again", started),
                ("started by somebody else on disks of two times, restore again", mixed),
                ("not there", gone),
            )
            if machines
        )
    )


def _found(job: GcpJob, machine: Reference) -> GcpMachine | None:
    try:
        return power.settled(job.compute, machine)
    except ResourceNotFoundError:
        return None


def _has_begun(machine: GcpMachine, exchanges: Sequence[DiskExchange]) -> bool:
    attached = {a.device: a.disk for a in machine.attachments}
    return any(attached.get(exchange.device) != exchange.old for exchange in exchanges)


def _exchange(job: GcpJob, machine: Reference, exchanges: Sequence[DiskExchange]) -> None:
    """Put each new disk where the old one was, under the same device name."""
    attached = {a.device: a.disk for a in job.compute.machine(machine).attachments}
    for exchange in exchanges:
        if exchange.device in attached and attached[exchange.device] != exchange.new:
            job.compute.wait(job.compute.act(machine, "detach_disk", device_name=exchange.device))
    for exchange in sorted(exchanges, key=lambda exchange: not exchange.boot):
        if attached.get(exchange.device) != exchange.new:
            body = attachment_of(exchange.new, exchange)
            job.compute.wait(job.compute.act(machine, "attach_disk", attached_disk_resource=body))
