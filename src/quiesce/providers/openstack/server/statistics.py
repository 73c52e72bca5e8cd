"""What Nova measures of a server."""

from __future__ import annotations

from typing import Final

from quiesce.errors import ProviderError
from quiesce.model.ids import Json
from quiesce.model.outcome import Outcome
from quiesce.providers.openstack.job import OpenStackJob
from quiesce.providers.openstack.locating import server_of

#: what of Nova's diagnostics is a sum over devices: our name, their list, their field, their unit in ours
_SUMS: Final = (
    ("cpu_time_s", "cpu_details", "time", 1e-9),
    ("disk_read_bytes", "disk_details", "read_bytes", 1),
    ("disk_written_bytes", "disk_details", "write_bytes", 1),
    ("disk_read_requests", "disk_details", "read_requests", 1),
    ("disk_write_requests", "disk_details", "write_requests", 1),
    ("network_received_bytes", "nic_details", "rx_octets", 1),
    ("network_sent_bytes", "nic_details", "tx_octets", 1),
)


def measure(job: OpenStackJob) -> Outcome:
    """Return what Nova tells: diagnostics to administrators, state and size to everybody."""
    server = server_of(job)
    figures: dict[str, Json] = {
        "status": server.status,
        "vcpus": server.flavor.get("vcpus"),
        "memory_bytes": _scaled(server.flavor.get("ram"), 1 << 20),
        "disk_bytes": _scaled(server.flavor.get("disk"), 1 << 30),
        "volumes": len(server.volume_ids),
        "launched_at": server.launched_at,
    }
    try:
        figures |= _figures_of(job.cloud.diagnostics(server.id))
    except ProviderError as error:
        note = f"no diagnostics: {error}"
        job.say(note)
        return Outcome(measurements=figures, note=note)
    return Outcome(measurements=figures)


def _figures_of(diagnostics: dict[str, Json]) -> dict[str, Json]:
    figures: dict[str, Json] = {
        "state": diagnostics.get("state"),
        "uptime_s": diagnostics.get("uptime"),
    }
    memory = diagnostics.get("memory_details")
    if isinstance(memory, dict):
        figures["memory_used_bytes"] = _scaled(memory.get("used"), 1 << 20)
    for name, section, field, unit in _SUMS:
        details = diagnostics.get(section)
        if isinstance(details, list):
            figures[name] = _sum(details, field, unit)
    return figures


def _sum(details: list[Json], field: str, unit: float) -> float:
    values = [detail.get(field) for detail in details if isinstance(detail, dict)]
    return sum(value * unit for value in values if isinstance(value, int | float))


def _scaled(value: Json, unit: int) -> Json:
    return value * unit if isinstance(value, int) else None
