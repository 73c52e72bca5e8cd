"""MEASURE: what the Compute Engine API itself knows; load is in Cloud Monitoring, which is not asked."""

from __future__ import annotations

import datetime as dt

from quiesce.model.ids import Json
from quiesce.model.outcome import Outcome
from quiesce.providers.gcp.resources import RUNNING
from quiesce.providers.gcp.target import Noun
from quiesce.providers.gcp.task import Task


def measure(task: Task) -> Outcome:
    """Return the figures of a machine or a disk."""
    return Outcome(measurements=_machine(task) if task.target.noun is Noun.MACHINE else _disk(task))


def _machine(task: Task) -> dict[str, Json]:
    machine = task.compute.machine(task.target.reference)
    figures: dict[str, Json] = {
        "status": machine.status,
        "machine_type": machine.machine_type,
        "disks": len(machine.persistent),
        "disks_bytes": sum(attachment.size_gb for attachment in machine.persistent) << 30,
        "local_ssds": machine.local_ssds,
        "gpus": machine.gpus,
    }
    if machine.status == RUNNING and machine.started_at:
        started = dt.datetime.fromisoformat(machine.started_at)
        figures["up_s"] = round((dt.datetime.now(dt.UTC) - started).total_seconds(), 1)
    return {**figures, **task.compute.machine_type(machine)}


def _disk(task: Task) -> dict[str, Json]:
    disk = task.compute.disk(task.target.reference)
    return {
        "status": disk.status,
        "disk_type": disk.type_name,
        "size_bytes": disk.size_gb << 30,
        "provisioned_iops": disk.iops,
        "provisioned_throughput_mb_s": disk.throughput,
        "users": len(disk.users),
    }
