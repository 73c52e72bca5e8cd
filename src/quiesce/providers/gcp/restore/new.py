"""Restoring into something new: beside the original, or in the place of one that is gone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from quiesce.model.outcome import Outcome
from quiesce.provider_kit.ownership import claim
from quiesce.providers.gcp import power
from quiesce.providers.gcp.copy.artifact import CopiedDisk, CopySet
from quiesce.providers.gcp.errors import AlreadyThereError
from quiesce.providers.gcp.job import GcpJob
from quiesce.providers.gcp.ownership import RESTORED, labels, owner_of, restored_name
from quiesce.providers.gcp.references import DISKS, IMAGES, MACHINES, Reference
from quiesce.providers.gcp.replaced import tidy
from quiesce.providers.gcp.restore.disks import add_policies, attachment_of, make_disks
from quiesce.providers.gcp.restore.intent import RestoreIntent, begin, finish, given_up

_BESIDE: Final = "beside"


def machine_beside(job: GcpJob) -> Reference:
    """Return the machine that is made next to the original."""
    return job.target.beside(MACHINES).named(restored_name(job.call, _BESIDE))


def restore_beside(job: GcpJob, made: CopySet) -> Outcome:
    """Make a new machine or disk next to the original, and touch nothing else."""
    name = restored_name(job.call, _BESIDE)
    if job.target.is_machine:
        return restore_new(job, made, machine_beside(job))
    _, disk = made.disks[0]
    lost = make_disks(job, made, {disk.disk.beside(DISKS).named(name): disk.disk})
    return Outcome(note="; ".join([f"restored beside the original, as the disk {name}", *lost]))


def restore_new(job: GcpJob, made: CopySet, machine: Reference) -> Outcome:
    """Make a machine of the copies; one that an earlier try began is finished."""
    images = [copy for copy in made.copies if copy.reference.collection == IMAGES]
    body = _body(job, made)
    told = list(not_kept(job, made))
    if images:
        _insert(job, machine, body, images[0].reference.path)
        lost = add_policies(job, _by_device(job, made, machine))
    else:
        lost = _insert_of_disks(job, made, machine, body)
    power.start(job.compute, machine)
    lost = [f"not kept: {'; '.join([*told, *lost])}"] if told or lost else []
    return Outcome(note="; ".join([f"restored as the machine {machine.name}", *lost]))


def not_kept(job: GcpJob, made: CopySet) -> tuple[str, ...]:
    """Return what a new machine has not of the one that was copied."""
    has_image = any(copy.reference.collection == IMAGES for copy in made.copies)
    once = [name for name in _only_once(job) if made.machine_settings.get(name)]
    lost = {
        f"the metadata {', '.join(made.metadata)}, which may be secrets": bool(made.metadata)
        and not has_image,
        f"the addresses {', '.join(made.addresses)}": bool(made.addresses),
        f"{', '.join(once)}": bool(once),
    }
    return tuple(what for what, applies in lost.items() if applies)


def _by_device(job: GcpJob, made: CopySet, machine: Reference) -> dict[Reference, CopiedDisk]:
    """Return the disks of a machine that was made of an image, each with what it was."""
    saved = {disk.device: disk for _, disk in made.disks}
    attached = job.compute.machine(machine).persistent
    return {one.disk: saved[one.device] for one in attached if one.disk is not None and one.device in saved}


def _insert_of_disks(job: GcpJob, made: CopySet, machine: Reference, body: Mapping[str, object]) -> list[str]:
    disks = {
        machine.beside(DISKS).named(restored_name(job.call, machine.name, disk.device)): disk
        for _, disk in made.disks
    }
    leftovers = (*given_up(job), *disks)
    begin(job, RestoreIntent(leftovers=leftovers))
    lost = make_disks(job, made, {new: disk.disk for new, disk in disks.items()})
    _insert(job, machine, {**body, "disks": [attachment_of(new, disk) for new, disk in disks.items()]})
    tidy(job, [], leftovers)
    finish(job)
    return lost


def _body(job: GcpJob, made: CopySet) -> dict[str, object]:
    machine_type = f"zones/{made.machine.place}/machineTypes/{made.machine_type}" if made.machine else ""
    theirs = made.machine_settings.get("labels")
    kept = {key: str(value) for key, value in theirs.items()} if isinstance(theirs, dict) else {}
    once = _only_once(job)
    settings = {name: value for name, value in made.machine_settings.items() if name not in once}
    return {
        **settings,
        "machine_type": machine_type,
        "labels": kept | labels(job.call, RESTORED),
    }


def _only_once(job: GcpJob) -> tuple[str, ...]:
    """Return the settings that a second machine beside the first one does not get."""
    return ("deletion_protection", "hostname") if job.options.restore_beside else ()


def _insert(job: GcpJob, machine: Reference, body: Mapping[str, object], image: str = "") -> None:
    try:
        job.compute.wait(job.compute.insert(machine, body, source_machine_image=image))
    except AlreadyThereError:
        claim(job.call, owner_of(job.compute.machine(machine).labels), machine.path)
