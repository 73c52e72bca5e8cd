"""Putting new disks where the old ones are. Every step brings about a state, so it may be done again."""

from __future__ import annotations

from collections.abc import Sequence

from quiesce.model.outcome import Outcome
from quiesce.providers.gcp import power
from quiesce.providers.gcp.names import MADE_BY
from quiesce.providers.gcp.new_disks import RESTORED, existing_disks, make_disks
from quiesce.providers.gcp.parts import Set
from quiesce.providers.gcp.references import Reference
from quiesce.providers.gcp.removal import remove_all
from quiesce.providers.gcp.replaced import forget, needed_by_instants, remember
from quiesce.providers.gcp.resources import Disk
from quiesce.providers.gcp.swap import UNDER_WAY, Exchange, Swap, swap_of
from quiesce.providers.gcp.target import CURRENT_DISK, Noun
from quiesce.providers.gcp.task import Task


def carry_out(task: Task, made: Set, swap: Swap) -> Outcome:
    new = list(dict.fromkeys(exchange.new for exchange in swap.exchanges))
    sources = {exchange.new: exchange.source for exchange in swap.exchanges}
    make_disks(task, made, {reference: sources[reference] for reference in new})
    old = existing_disks(task, (exchange.old for exchange in swap.exchanges))
    remember(task, [disk for disk in old if not _is_ours(task, swap, disk)])
    for machine in swap.machines:
        power.stop(task.compute, machine, discard_local_ssd=task.options.discard_local_ssd)
        _exchange(task, machine, [exchange for exchange in swap.exchanges if exchange.machine == machine])
    if task.target.noun is Noun.DISK:
        task.notes.write(**{CURRENT_DISK: new[0].path})
    for machine in swap.restart:
        power.start(task.compute, machine)
    kept = tidy(task, swap, old)
    task.notes.write(**{UNDER_WAY: None})
    return Outcome(note=f"the replaced disks are kept: {', '.join(kept)}" if kept else "")


def _exchange(task: Task, machine: Reference, exchanges: Sequence[Exchange]) -> None:
    """Put each new disk where the old one was, under the same device name."""
    attached = {a.device: a.disk for a in task.compute.machine(machine).attachments}
    for exchange in exchanges:
        if exchange.device in attached and attached[exchange.device] != exchange.new:
            task.compute.wait(task.compute.act(machine, "detach_disk", device_name=exchange.device))
    for exchange in sorted(exchanges, key=lambda exchange: not exchange.boot):
        if attached.get(exchange.device) != exchange.new:
            body = {
                "source": exchange.new.path,
                "device_name": exchange.device,
                "boot": exchange.boot,
                "auto_delete": exchange.auto_delete,
                "mode": exchange.mode,
            }
            task.compute.wait(task.compute.act(machine, "attach_disk", attached_disk_resource=body))


def tidy(task: Task, swap: Swap, old: Sequence[Disk]) -> list[str]:
    """Remove what restores made and nobody needs, and the replaced disks when none is to be kept."""
    theirs = [disk for disk in old if not _is_ours(task, swap, disk)]
    needed = () if task.options.keep_replaced else needed_by_instants(task, (d.reference for d in theirs))
    kept = [disk for disk in theirs if task.options.keep_replaced or disk.reference in needed]
    gone = {disk.reference for disk in old if disk not in kept}
    unused = [disk for disk in existing_disks(task, swap.leftovers) if not disk.users]
    gone |= {disk.reference for disk in unused if _is_ours(task, swap, disk)}
    remove_all(task, sorted(gone, key=lambda reference: reference.path))
    forget(task, list(gone))
    return [disk.reference.name for disk in kept]


def _is_ours(task: Task, swap: Swap, disk: Disk) -> bool:
    """Tell whether a replaced disk is nobody's data: a try of this restore, or of one that was given up."""
    left_over = disk.reference in swap.leftovers and disk.labels.get(MADE_BY) == RESTORED
    return left_over or task.mark.made(disk.labels)


def given_up(task: Task) -> tuple[Reference, ...]:
    """Return the disks that earlier restores made, or were about to make, and did not bring to an end."""
    swap = swap_of(task.notes.read(UNDER_WAY))
    return (*(exchange.new for exchange in swap.exchanges), *swap.leftovers) if swap else ()
