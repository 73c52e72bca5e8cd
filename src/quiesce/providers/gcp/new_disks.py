"""The disks that a restore makes from copies."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import Final

from quiesce.errors import ForeignObjectError, NonRecoverableError, ResourceNotFoundError
from quiesce.providers.gcp.errors import AlreadyThereError
from quiesce.providers.gcp.names import unique_name
from quiesce.providers.gcp.parts import IMAGE, SNAPSHOT, Part, Piece, Set
from quiesce.providers.gcp.references import Reference
from quiesce.providers.gcp.resources import READY, Disk
from quiesce.providers.gcp.task import Task

#: what the labels of restored disks and machines say about them
RESTORED: Final = "restored"


def restored_name(task: Task, *what: str) -> str:
    return unique_name(
        task.call.instance, str(task.call.point), *what, task.call.deployment, task.call.execution
    )


def make_disks(task: Task, made: Set, sources: Mapping[Reference, Reference]) -> None:
    by_disk = {part.disk: (piece, part) for piece, part in made.parts}
    wanted = [(new, *by_disk[source]) for new, source in sources.items()]
    begun = task.compute.side_by_side(lambda one: _begin_disk(task, *one), wanted)
    for operation in begun:
        if operation is not None:
            task.compute.wait(operation)
    for new in sources:
        _until_ready(task, new)


def _begin_disk(task: Task, new: Reference, piece: Piece, part: Part) -> Reference | None:
    try:
        if piece.copy.collection == IMAGE:
            return task.compute.insert_from_machine_image(new, _body_from_image(task, piece, part))
        return task.compute.insert(new, _body_from_snapshot(task, piece, part))
    except AlreadyThereError:
        found = task.compute.disk(new)
    if not task.mark.made(found.labels):
        raise ForeignObjectError(f"{new.path} exists and was not made by this execution")
    return None


def _body_from_snapshot(task: Task, piece: Piece, part: Part) -> dict[str, object]:
    source = "source_snapshot" if piece.copy.collection == SNAPSHOT else "source_instant_snapshot"
    body: dict[str, object] = {
        source: piece.copy.path,
        "labels": task.mark.labels(RESTORED, part.device),
        "size_gb": part.size_gb,
        "type_": part.type,
        "replica_zones": list(part.replica_zones),
        "provisioned_iops": part.iops,
        "provisioned_throughput": part.throughput,
    }
    return {key: value for key, value in body.items() if value}


def _body_from_image(task: Task, piece: Piece, part: Part) -> dict[str, object]:
    body: dict[str, object] = {
        "sourceMachineImage": piece.copy.path,
        "sourceMachineImageDiskDeviceName": part.device,
        "labels": task.mark.labels(RESTORED, part.device),
        "sizeGb": str(part.size_gb),
        "type": part.type,
        "replicaZones": list(part.replica_zones),
    }
    return {key: value for key, value in body.items() if value}


def _until_ready(task: Task, new: Reference) -> None:
    for turn in itertools.count(1):
        disk = task.compute.disk(new)
        if disk.status == READY:
            return
        if disk.status == "FAILED":
            raise NonRecoverableError(f"{new.path} could not be made: it is FAILED")
        task.compute.patience.back_off(min(turn, 5))


def existing_disks(task: Task, references: Iterable[Reference | None]) -> list[Disk]:
    """Return the disks among *references* that exist."""
    found = []
    for reference in dict.fromkeys(references):
        if reference is not None:
            with suppress(ResourceNotFoundError):
                found.append(task.compute.disk(reference))
    return found
