"""MEASURE: what the Compute Engine API itself knows; load is in Cloud Monitoring, which is not asked."""

from __future__ import annotations

import datetime as dt

from quiesce.model.ids import Json
from quiesce.providers.gcp.job import GcpJob
from quiesce.providers.gcp.resources import RUNNING


def of_machine(job: GcpJob) -> dict[str, Json]:
    """Return what is known of a machine."""
    machine = job.compute.machine(job.target)
    known: dict[str, Json] = {
        "status": machine.status,
        "machine_type": machine.machine_type,
        "disks": len(machine.persistent),
        "disks_bytes": sum(attachment.size_gb for attachment in machine.persistent) << 30,
        "local_ssds": machine.local_ssds,
        "gpus": machine.gpus,
    }
    if machine.status == RUNNING and machine.started_at:
        started = dt.datetime.fromisoformat(machine.started_at)
        known["up_s"] = round((dt.datetime.now(dt.UTC) - started).total_seconds(), 1)
    return {**known, **job.compute.machine_type(machine)}


def of_disk(job: GcpJob) -> dict[str, Json]:
    """Return what is known of a disk."""
    disk = job.compute.disk(job.target)
    return {
        "status": disk.status,
        "disk_type": disk.type_name,
        "size_bytes": disk.size_gb << 30,
        "provisioned_iops": disk.iops,
        "provisioned_throughput_mb_s": disk.throughput,
        "users": len(disk.users),
    }
