"""Putting a full copy back: a machine is made of it next to the present one, then the disks change places.

The order makes every moment recoverable. The temporary machine says in its own configuration how far the
restore is, so that a repetition goes on where the first one died:

1. the temporary machine is made and marked *ready*;
2. the machine gives its disks up and takes the restored ones, in one change;
3. the temporary machine takes the old disks, in one change, and is marked *spent*;
4. the temporary machine is destroyed, and the old disks with it.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping
from typing import Final, Protocol

from quiesce.errors import ForeignObjectError, ProviderError, UnsupportedError
from quiesce.model.ids import Json
from quiesce.model.outcome import Outcome
from quiesce.providers.vsphere.center import Disk, Machine, Power
from quiesce.providers.vsphere.job import Job
from quiesce.providers.vsphere.marks import (
    MARK,
    REPLACED,
    STATE,
    Mark,
    claim,
    marks_of,
    object_name,
    removable,
)
from quiesce.providers.vsphere.options import PowerAfter
from quiesce.providers.vsphere.power import destroy, leave_as_asked, leave_running, switch_off

_SUFFIX: Final = "-restoring"
_MAKING: Final = "making"
_READY: Final = "ready"
_SPENT: Final = "spent"


class Source(Protocol):
    """A full copy that machines can be made of."""

    @property
    def content(self) -> Mapping[str, Json]:
        """What was recorded at the cut."""
        ...

    def materialise(self, name: str, marks: Mapping[str, str], *, connected: bool) -> str:
        """Make a machine of the stored state and return its id; it is switched off."""
        ...


def apply_source(job: Job, source: Source) -> Outcome:
    """Restore *source* beside the present machine when asked to, else in its place."""
    if job.options.restore_to:
        return _beside(job, source, job.options.restore_to)
    machine = job.settled_if_there()
    if machine is None:
        return _anew(job, source)
    return _in_place(job, source, machine)


def remove_temporary(job: Job, machine: Machine | None) -> None:
    """Remove what a restore that died has left, without harm to the machine's disks."""
    _remove_named(job, machine, _temporary_name(job))


def _remove_named(job: Job, machine: Machine | None, name: str) -> None:
    for found in job.named(name):
        if removable(job.call, found.marks.get(MARK, "")):
            _dissolve(job, machine, found)


def _beside(job: Job, source: Source, name: str) -> Outcome:
    for found in job.named(name):
        claim(job.call, found.marks.get(MARK, ""), f"the machine {name!r}")
        if found.marks.get(STATE) == _READY:
            return Outcome(result={"machine": found.id, "name": name})
        destroy(job, found)
    with _leaving_nothing(job, name):
        made = _make(job, source, name, connected=False)
        if job.options.power_after is PowerAfter.ON:
            job.center.power_on(made, job.context)
    note = f"restored as {name}; the present machine was left alone"
    return Outcome(note=note, result={"machine": made, "name": name})


def _anew(job: Job, source: Source) -> Outcome:
    """Make the machine again that is gone, under its old name."""
    name = str(source.content.get("name") or job.call.instance)
    if job.center.children(name):
        raise ForeignObjectError(f"{job.call.instance}'s machine is gone, and another one is called {name!r}")
    with _leaving_nothing(job, _temporary_name(job)):
        made = _ready(job, source, None).id
        job.center.rename(made, name, job.context)
        job.center.mark(made, {MARK: "", STATE: ""}, job.context)
    properties = {**job.call.runtime_properties, "vsphere_server_id": made, "name": name}
    job.context.set_runtime_properties(properties)
    note = leave_as_asked(job, made, _power_at_cut(source))
    return Outcome(note=f"{name} was gone and was made again as {made}. {note}".strip())


def _in_place(job: Job, source: Source, machine: Machine) -> Outcome:
    with _leaving_nothing(job, _temporary_name(job), machine):
        temporary = _ready(job, source, machine)
        _refuse_unlike(machine, temporary)
        switch_off(job, machine)
        note = _exchange(job, machine, temporary, source.content)
        destroy(job, temporary)
        powered = leave_as_asked(job, machine.id, _power_at_cut(source))
    return Outcome(note=" ".join(filter(None, [note, powered])))


@contextlib.contextmanager
def _leaving_nothing(job: Job, name: str, running: Machine | None = None) -> Iterator[None]:
    """When the restore fails for good: remove the machine *name* that it made, let *running* run again."""
    try:
        yield
    except ProviderError as error:
        if _is_last_attempt(job, error):
            _clean_up(job, name, running)
        raise


def _is_last_attempt(job: Job, error: ProviderError) -> bool:
    retries = job.call.parameters.task_retries
    return not error.retryable or 0 <= retries < job.call.attempt


def _clean_up(job: Job, name: str, running: Machine | None) -> None:
    """Leave nothing behind after a failure; what cannot be removed now is removed by the next attempt."""
    try:
        _remove_named(job, job.settled_if_there(), name)
        if running is not None and running.power is Power.ON:
            leave_running(job, running.id)
    except ProviderError as error:
        job.warn(f"the machine {name!r} may be left; the next restore or remove_backup removes it: {error}")


def _ready(job: Job, source: Source, machine: Machine | None) -> Machine:
    """Return the temporary machine, made now or by an earlier attempt of this execution."""
    for found in job.named(_temporary_name(job)):
        mark = Mark.read(found.marks.get(MARK, ""))
        if not Mark.of(job.call).same_point(mark):
            raise ForeignObjectError(f"the machine {found.name!r} exists already and is not ours")
        if mark == Mark.of(job.call) and found.marks.get(STATE) in (_READY, _SPENT):
            return found
        _dissolve(job, machine, found)
    made = _make(job, source, _temporary_name(job), connected=machine is None)
    return job.center.machine(made)


def _make(job: Job, source: Source, name: str, *, connected: bool) -> str:
    made = source.materialise(name, marks_of(job.call, **{STATE: _MAKING}), connected=connected)
    job.center.mark(made, {STATE: _READY}, job.context)
    return made


def _refuse_unlike(machine: Machine, temporary: Machine) -> None:
    """Raise when the machine's controllers are not those that the restored disks need."""
    have = _controllers(machine)
    missing = {disk.controller for disk in temporary.disks} - have
    if missing and temporary.marks.get(STATE) == _READY:
        raise UnsupportedError(
            f"{machine.name} has no disk controller {', '.join(map(str, sorted(missing)))} any more",
            hint="Add it, or restore beside with vsphere_restore_to.",
        )


def _exchange(job: Job, machine: Machine, temporary: Machine, content: Mapping[str, Json]) -> str:
    """Let the disks change places; return a note about disks that stay where they are."""
    if temporary.marks.get(STATE) == _SPENT:
        return ""
    if not _holds(machine, temporary):
        temporary = _put_into(job, machine, temporary, content)
    return _hand_over(job, machine, temporary)


def _put_into(job: Job, machine: Machine, temporary: Machine, content: Mapping[str, Json]) -> Machine:
    positions = {disk.position for disk in temporary.disks}
    old = [disk for disk in machine.disks if disk.position in positions]
    replaced = json.dumps([_as_json(disk) for disk in old])
    job.center.mark(temporary.id, {REPLACED: replaced}, job.context)
    hardware = content.get("hardware")
    job.center.exchange(
        machine.id,
        out=old,
        into=temporary.disks,
        hardware=hardware if isinstance(hardware, dict) else {},
        marks={},
        patience=job.context,
    )
    return job.center.machine(temporary.id)


def _hand_over(job: Job, machine: Machine, temporary: Machine) -> str:
    """Give the old disks to the temporary machine; those that snapshots read through stay."""
    old = [_disk_of(one) for one in json.loads(temporary.marks.get(REPLACED) or "[]")]
    kept = old if machine.snapshots else []
    job.center.exchange(
        temporary.id,
        out=temporary.disks,
        into=[disk for disk in old if disk not in kept],
        hardware={},
        marks={STATE: _SPENT},
        patience=job.context,
    )
    if not kept:
        return ""
    return f"kept for {machine.name}'s snapshots: {', '.join(disk.file for disk in kept)}."


def _dissolve(job: Job, machine: Machine | None, temporary: Machine) -> None:
    """Destroy the temporary machine without taking disks with it that the machine uses now."""
    if machine is not None and temporary.marks.get(STATE) == _READY and _holds(machine, temporary):
        _hand_over(job, machine, temporary)
    destroy(job, temporary)


def _holds(machine: Machine, temporary: Machine) -> bool:
    files = {disk.file for disk in machine.disks}
    return any(disk.file in files for disk in temporary.disks)


def _temporary_name(job: Job) -> str:
    return object_name(job.call, _SUFFIX)


def _controllers(machine: Machine) -> set[int]:
    controllers = machine.hardware.get("controllers")
    entries = controllers if isinstance(controllers, list) else []
    return {int(str(one["key"])) for one in entries if isinstance(one, dict)}


def _as_json(disk: Disk) -> dict[str, Json]:
    return {
        "key": disk.key,
        "label": disk.label,
        "capacity_bytes": disk.capacity_bytes,
        "file": disk.file,
        "controller": disk.controller,
        "unit": disk.unit,
    }


def _disk_of(data: Mapping[str, Json]) -> Disk:
    return Disk(
        key=int(str(data["key"])),
        label=str(data["label"]),
        capacity_bytes=int(str(data["capacity_bytes"])),
        file=str(data["file"]),
        controller=int(str(data["controller"])),
        unit=int(str(data["unit"])),
    )


def _power_at_cut(source: Source) -> Power:
    recorded = source.content.get("power")
    return Power(recorded) if recorded in list(Power) else Power.OFF
