"""Disks of a machine image where none can be made of it: those of a machine that is there for a moment."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress

from quiesce.errors import ProviderError, ResourceNotFoundError, UnsupportedError
from quiesce.provider_kit.ownership import claim, is_removable
from quiesce.providers.gcp import power
from quiesce.providers.gcp.copy.artifact import CopySet
from quiesce.providers.gcp.errors import AlreadyThereError
from quiesce.providers.gcp.job import GcpJob
from quiesce.providers.gcp.ownership import RESTORED, labels, owner_of, restored_name
from quiesce.providers.gcp.references import MACHINES, Reference
from quiesce.providers.gcp.resources import GcpMachine


@contextmanager
def disks_of_image(job: GcpJob, made: CopySet, image: Reference) -> Iterator[Mapping[str, Reference]]:
    """Hold a stopped machine made of *image*, and return its disks by device.

    Compute Engine starts what it makes; the machine has no addresses outside and no account, and is stopped
    at once. It is removed with its disks in any case; one that a process which died has left is taken up.
    """
    if made.machine is None:
        raise UnsupportedError(f"{image.path} is the image of no machine that is known")
    machine = made.machine.beside(MACHINES).named(restored_name(job.call, "temporary"))
    try:
        _insert(job, made, machine, image)
        power.stop(job.compute, machine, discard_local_ssd=True)
        attached = job.compute.machine(machine).persistent
        yield {one.device: one.disk for one in attached if one.disk is not None}
    finally:
        _remove(job, machine)


def _insert(job: GcpJob, made: CopySet, machine: Reference, image: Reference) -> None:
    body = {
        "machine_type": f"zones/{machine.place}/machineTypes/{made.machine_type}",
        "network_interfaces": made.machine_settings.get("network_interfaces"),
        "labels": labels(job.call, RESTORED),
    }
    try:
        job.compute.wait(job.compute.insert(machine, body, source_machine_image=image.path))
    except AlreadyThereError:
        claim(job.call, owner_of(job.compute.machine(machine).labels), machine.path)


def _remove(job: GcpJob, machine: Reference) -> None:
    try:
        found = job.compute.machine(machine)
    except ResourceNotFoundError:
        return
    if not is_removable(job.call, owner_of(found.labels)):
        return
    try:
        job.compute.remove([machine])
        job.compute.remove(_disks(job, found))
    except ProviderError as error:
        job.warn(f"the machine {machine.name} may be left, and can be removed: {error}")


def _disks(job: GcpJob, machine: GcpMachine) -> list[Reference]:
    """Return the machine's disks that are still there, now that it is not."""
    left = []
    for attached in machine.persistent:
        with suppress(ResourceNotFoundError):
            if attached.disk is not None and not job.compute.disk(attached.disk).users:
                left.append(attached.disk)
    return left
