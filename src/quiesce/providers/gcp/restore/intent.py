"""A restore's intention, durable before its first effect, so that another process can finish it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from quiesce.provider_kit.artifact import as_artifact, read_artifact
from quiesce.providers.gcp.job import GcpJob
from quiesce.providers.gcp.references import Reference

#: runtime property that holds the restore which is under way
_UNDER_WAY: Final = "quiesce_restore"


@dataclass(frozen=True, slots=True, kw_only=True)
class DiskExchange:
    """One new disk that takes another one's place."""

    #: what it is made from is found by this in the artifact: the disk that was copied
    source: Reference
    new: Reference
    #: None: nothing is attached where it goes
    old: Reference | None = None
    #: None: it is attached to no machine
    machine: Reference | None = None
    device: str = ""
    boot: bool = False
    auto_delete: bool = False
    mode: str = "READ_WRITE"
    interface: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class RestoreIntent:
    """All that one restore of one instance is going to exchange."""

    execution: str = ""
    exchanges: tuple[DiskExchange, ...] = ()
    #: the machines that ran before, and will run again
    restart: tuple[Reference, ...] = ()
    #: whether they were stopped, or may have been, and were not started since
    stopping: bool = False
    #: disks that an earlier restore made and did not bring to its end
    leftovers: tuple[Reference, ...] = ()

    @property
    def machines(self) -> Sequence[Reference]:
        """Every machine that it touches."""
        found = {exchange.machine for exchange in self.exchanges if exchange.machine is not None}
        return sorted(found, key=lambda machine: machine.path)

    def of(self, machine: Reference) -> Sequence[DiskExchange]:
        """What is exchanged in one machine."""
        return [each for each in self.exchanges if each.machine == machine]


def unfinished(job: GcpJob) -> RestoreIntent | None:
    """Return what was begun and not finished, if anything."""
    entry = job.state.read(_UNDER_WAY)
    return read_artifact(RestoreIntent, entry) if isinstance(entry, dict) else None


def given_up(job: GcpJob) -> tuple[Reference, ...]:
    """Return the disks that earlier restores made, or were about to make, and did not bring to an end."""
    intent = unfinished(job)
    return (*(exchange.new for exchange in intent.exchanges), *intent.leftovers) if intent else ()


def begin(job: GcpJob, intent: RestoreIntent) -> None:
    """Write down what is going to be done."""
    job.state.write(**{_UNDER_WAY: as_artifact(intent)})


def finish(job: GcpJob) -> None:
    """Write down that it is done."""
    job.state.write(**{_UNDER_WAY: None})
