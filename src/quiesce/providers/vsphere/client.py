"""A vCenter through pyVmomi: everything that the provider asks for, as few requests as it takes."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, Final

from quiesce.errors import NonRecoverableError, ProviderError, ResourceNotFoundError, UnsupportedError
from quiesce.model.ids import Json
from quiesce.provider_kit.deadline import Deadline
from quiesce.provider_kit.listing import AT_ONCE, SharedRequest
from quiesce.providers.vsphere.endpoint import VCenterEndpoint
from quiesce.providers.vsphere.inventory import Hardware, MachineLookup, VirtualDisk, VirtualMachine
from quiesce.providers.vsphere.session import reading, specs
from quiesce.providers.vsphere.session.file_service import FileService
from quiesce.providers.vsphere.session.lease import NfcLease
from quiesce.providers.vsphere.session.places import VCenterPlaces
from quiesce.providers.vsphere.session.sdk import id_of, vim
from quiesce.providers.vsphere.session.session import VCenterSession
from quiesce.providers.vsphere.session.tasks import VCenterTasks
from quiesce.providers.vsphere.vcenter import (
    BuildRequest,
    CloneRequest,
    DiskArea,
    DiskUpload,
    ExportLease,
    SnapshotRequest,
)

#: a datacenter, when only its machines count, and the name of a machine
Named = tuple[str | None, str]

_ID: Final = re.compile(r"vm-\d+|\d+")
_UUID: Final = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
#: how long a machine that was found once is taken to be the right one without looking again
_REMEMBERED_S: Final = 60.0
#: the longest pause between two looks whether a task still runs on a machine
_IDLE_S: Final = 1.0


class VSphereClient:
    """Answers `quiesce.providers.vsphere.vcenter.VCenter`."""

    def __init__(self, endpoint: VCenterEndpoint) -> None:
        self._session = VCenterSession(endpoint)
        self._tasks = VCenterTasks(self._session)
        self._places = VCenterPlaces(self._session)
        self._files = FileService(self._session, self._places.datacenter_path)
        self._machines: SharedRequest[str, VirtualMachine] = SharedRequest(self._read_machines, AT_ONCE)
        self._named: SharedRequest[Named, tuple[str, ...]] = SharedRequest(self._list_names, AT_ONCE)
        self._figures: SharedRequest[str, Mapping[str, Json]] = SharedRequest(self._read_figures, AT_ONCE)
        self._found: dict[MachineLookup, tuple[float, str]] = {}

    # -- looking ---------------------------------------------------------------------------------------

    def find(self, lookup: MachineLookup, deadline: Deadline) -> str:
        """Return the machine's id."""
        known = self._found.get(lookup)
        if known is not None and time.monotonic() - known[0] < _REMEMBERED_S:
            return known[1]
        found = self._find(lookup, deadline)
        self._found[lookup] = (time.monotonic(), found)
        return found

    def machine(self, machine: str, deadline: Deadline) -> VirtualMachine:
        """Return the machine as it is now; concurrent calls are one request."""
        try:
            return self._machines.now(machine, deadline)
        except ResourceNotFoundError:
            self._found = {lookup: known for lookup, known in self._found.items() if known[1] != machine}
            raise

    def when_idle(self, machine: str, deadline: Deadline) -> VirtualMachine:
        """Return the machine once no task runs on it any more."""

        def look() -> VirtualMachine | None:
            found = self.machine(machine, deadline)
            return None if found.busy else found

        return deadline.until(look, _IDLE_S)

    def machines_named(self, name: str, deadline: Deadline) -> tuple[str, ...]:
        """Return the ids of all machines and templates of exactly that name."""
        return self._named.now((None, name), deadline)

    def disks_at(self, snapshot: str) -> tuple[VirtualDisk, ...]:
        """Return the machine's disks as they were at the cut."""
        read = reading.read_objects(self._session, vim.vm.Snapshot, [snapshot], ["config.hardware"])
        if snapshot not in read:
            raise ResourceNotFoundError(f"the snapshot {snapshot} is gone")
        return tuple(reading.disks_of(read[snapshot].get("config.hardware")))

    def measure(self, machine: str, deadline: Deadline) -> Mapping[str, Json]:
        """Return figures of a machine; concurrent requests are one query."""
        return self._figures.now(machine, deadline)

    def attributes(self, machine: str) -> Mapping[str, str]:
        """Return the custom attributes of a machine that have a value, by name."""
        read = reading.read_objects(self._session, vim.VirtualMachine, [machine], reading.ATTRIBUTES)
        return reading.attributes_of(read.get(machine, {}))

    def set_attribute(self, machine: str, name: str, value: str) -> None:
        """Give a machine a custom attribute."""
        found = self._vm(machine)
        self._session.change(
            f"set the attribute {name!r} of {machine}",
            lambda _: found.SetCustomValue(key=name, value=value),
        )

    def free_bytes(self, machine: str) -> int:
        """Return the least free space of the datastores that the machine lies on."""
        return self._places.free_bytes(machine)

    def datastore_type(self, name: str) -> str:
        """Return the API's name of the file system of the datastore *name*."""
        return self._places.datastore_type(name)

    def missing_rights(self, machine: str, rights: Sequence[str]) -> tuple[str, ...]:
        """Return those of *rights* that this login has not on the machine."""

        def ask(content: Any) -> Any:
            key = content.sessionManager.currentSession.key
            entity = self._vm(machine)
            return content.authorizationManager.HasPrivilegeOnEntities([entity], key, list(rights))

        answers = self._session.read("ask for rights", ask)
        granted = {one.privId for answer in answers for one in answer.privAvailability if one.isGranted}
        return tuple(right for right in rights if right not in granted)

    def machines(self, folder: str | None, deadline: Deadline) -> tuple[VirtualMachine, ...]:
        """Return every machine, templates left out."""
        root = self._places.folder(folder) if folder else None
        read = reading.read_all(self._session, vim.VirtualMachine, reading.MACHINE, root)
        machines = (reading.machine_of(moid, values, busy=False) for moid, values in read.items())
        return tuple(machine for machine in machines if not machine.template)

    # -- changing --------------------------------------------------------------------------------------

    def suspend(self, machine: str, deadline: Deadline) -> None:
        """Suspend a running machine."""
        self._run(f"suspend {machine}", lambda: self._vm(machine).SuspendVM_Task(), deadline)

    def power_on(self, machine: str, deadline: Deadline) -> None:
        """Start a machine, or resume a suspended one."""
        self._run(f"start {machine}", lambda: self._vm(machine).PowerOnVM_Task(), deadline)

    def power_off(self, machine: str, deadline: Deadline) -> None:
        """Switch a machine off at once."""
        self._run(f"switch {machine} off", lambda: self._vm(machine).PowerOffVM_Task(), deadline)

    def create_snapshot(self, machine: str, request: SnapshotRequest, deadline: Deadline) -> str:
        """Make a snapshot and return its id."""
        vm = self._vm(machine)

        def start() -> Any:
            if request.quiesce and request.quiesce_timeout_min is not None:
                guest = vim.vm.GuestQuiesceSpec(timeout=request.quiesce_timeout_min)
                return vm.CreateSnapshotEx_Task(request.name, request.description, request.memory, guest)
            return vm.CreateSnapshot_Task(request.name, request.description, request.memory, request.quiesce)

        made = self._run(f"snapshot {machine}", start, deadline, cancel=True)
        return id_of(made)

    def revert(self, snapshot: str, deadline: Deadline) -> None:
        """Put the snapshot's machine back to it."""
        found = self._session.bind(vim.vm.Snapshot, snapshot)
        self._run(f"revert to {snapshot}", found.RevertToSnapshot_Task, deadline)

    def remove_snapshot(self, snapshot: str, deadline: Deadline) -> None:
        """Remove this snapshot only; one that is gone already is fine."""
        found = self._session.bind(vim.vm.Snapshot, snapshot)
        try:
            self._run(f"remove {snapshot}", lambda: found.RemoveSnapshot_Task(False, True), deadline)
        except ResourceNotFoundError:
            return

    def clone(self, machine: str, snapshot: str | None, request: CloneRequest, deadline: Deadline) -> str:
        """Copy a machine, or its state at a snapshot, and return the copy's id."""
        source = self._vm(machine)
        folder = self._folder(request.folder, self.machine(machine, deadline).folder)
        location = vim.vm.RelocateSpec()
        if request.datastore:
            location.datastore = self._places.datastore(request.datastore)
        if request.pool:
            location.pool = self._session.bind(vim.ResourcePool, request.pool)
        spec = vim.vm.CloneSpec(
            location=location,
            powerOn=False,
            template=False,
            config=vim.vm.ConfigSpec(extraConfig=specs.settings_of(request.marks)),
        )
        if snapshot is not None:
            spec.snapshot = self._session.bind(vim.vm.Snapshot, snapshot)
        what = f"clone {machine} to {request.name!r}"
        made = self._run(what, lambda: source.CloneVM_Task(folder, request.name, spec), deadline, cancel=True)
        return id_of(made)

    def destroy(self, machine: str, deadline: Deadline) -> None:
        """Remove a machine that is not running, with all disks that it has now."""
        try:
            self._run(f"destroy {machine}", lambda: self._vm(machine).Destroy_Task(), deadline)
        except ResourceNotFoundError:
            return

    def mark(self, machine: str, marks: Mapping[str, str], deadline: Deadline) -> None:
        """Write our own settings into a machine's configuration."""
        spec = vim.vm.ConfigSpec(extraConfig=specs.settings_of(marks))
        self._run(f"mark {machine}", lambda: self._vm(machine).ReconfigVM_Task(spec), deadline)

    def exchange(
        self,
        machine: str,
        *,
        out: Sequence[VirtualDisk],
        into: Sequence[VirtualDisk],
        hardware: Hardware | None,
        marks: Mapping[str, str],
        deadline: Deadline,
    ) -> None:
        """Take disks out (their files stay) and put files in, in one change."""
        spec = specs.exchange_of(out, into, hardware, marks)
        what = f"exchange the disks of {machine}"
        self._run(what, lambda: self._vm(machine).ReconfigVM_Task(spec), deadline)

    def rename(self, machine: str, name: str, deadline: Deadline) -> None:
        """Give a machine another name."""
        self._run(f"rename {machine}", lambda: self._vm(machine).Rename_Task(name), deadline)

    # -- moving data -----------------------------------------------------------------------------------

    def export(self, machine: str, snapshot: str, deadline: Deadline) -> AbstractContextManager[ExportLease]:
        """Return a lease to read the disks at a snapshot."""
        found = self._session.bind(vim.vm.Snapshot, snapshot)
        lease = self._session.change(f"export {machine}", lambda _: found.ExportSnapshot(), deadline)
        return NfcLease(self._session, lease, self.machine(machine, deadline).hardware, deadline)

    def changed(self, machine: str, snapshot: str, disk: VirtualDisk, since: str) -> tuple[DiskArea, ...]:
        """Return what changed between change id *since* and *snapshot*."""
        if disk.layered:
            raise UnsupportedError("older snapshots lie below it, and only flat files can be read in parts")
        areas: list[DiskArea] = []
        at = 0
        while at < disk.capacity_bytes:
            found = self._query_changed(machine, snapshot, disk.key, at, since)
            told_to = 0 if found is None else found.startOffset + found.length
            if told_to <= at:
                raise UnsupportedError("vSphere does not say what has changed to the disk's end")
            areas += [DiskArea(start=one.start, length=one.length) for one in found.changedArea or ()]
            at = told_to
        return tuple(areas)

    def read(self, disk: VirtualDisk, area: DiskArea) -> bytes:
        """Return bytes of a snapshot's disk."""
        return self._files.read(disk.file, area)

    def build(self, request: BuildRequest, disks: Mapping[int, DiskUpload], deadline: Deadline) -> str:
        """Make a machine from stream-optimised VMDKs, by disk key, and return its id."""
        datastore = request.datastore or request.hardware.datastore or ""
        spec = vim.vm.VmImportSpec(configSpec=specs.build_of(request, datastore))
        pool = self._pool(request.pool)
        folder = self._folder(request.folder, request.folder_id)
        what = f"make {request.name!r}"
        lease = self._session.change(what, lambda _: pool.ImportVApp(spec, folder), deadline)
        with NfcLease(self._session, lease, request.hardware, deadline) as writing:
            made = writing.machine
            missing = set(disks) - set(writing.keys())
            if missing:
                raise UnsupportedError(f"vSphere takes no content for the disks {sorted(missing)}")
            for key, upload in disks.items():
                writing.write(key, upload)
        return made

    def close(self) -> None:
        """Log out."""
        self._tasks.close()
        self._files.close()
        self._session.close()

    # -- chapters --------------------------------------------------------------------------------------

    def _vm(self, moid: str) -> Any:
        return self._session.bind(vim.VirtualMachine, moid)

    def _run(self, what: str, start: Callable[[], Any], deadline: Deadline, *, cancel: bool = False) -> Any:
        task = self._session.change(what, lambda _: start(), deadline)
        return self._tasks.result(task, what, deadline, cancel=cancel)

    def _folder(self, name: str | None, moid: str) -> Any:
        return self._places.folder(name) if name else self._session.bind(vim.Folder, moid)

    def _pool(self, moid: str | None) -> Any:
        if moid is None:
            raise NonRecoverableError("the copy does not say in which resource pool its machine ran")
        return self._session.bind(vim.ResourcePool, moid)

    def _query_changed(self, machine: str, snapshot: str, key: int, at: int, since: str) -> Any:
        at_cut = self._session.bind(vim.vm.Snapshot, snapshot)
        vm = self._vm(machine)
        try:
            return self._session.read(
                "ask what has changed", lambda _: vm.QueryChangedDiskAreas(at_cut, key, at, since)
            )
        except (NonRecoverableError, ResourceNotFoundError) as error:
            raise UnsupportedError(f"changed block tracking was reset since then ({error})") from error

    def _find(self, lookup: MachineLookup, deadline: Deadline) -> str:
        if lookup.resource is not None:
            found = self._find_resource(lookup.resource, lookup, deadline)
        else:
            found = lookup.id or self._find_named(lookup.names, lookup, deadline)
        if found is None:
            raise ResourceNotFoundError(f"there is no machine {lookup} on {self._session.endpoint}")
        return found

    def _find_resource(self, resource: str, lookup: MachineLookup, deadline: Deadline) -> str | None:
        if _ID.fullmatch(resource):
            return resource
        if _UUID.fullmatch(resource) or "/" in resource:
            found = self._session.read(
                f"find {resource}", lambda content: _search(content, resource), deadline
            )
            return id_of(found) if found is not None else None
        return self._find_named((resource,), lookup, deadline)

    def _find_named(self, names: Sequence[str], lookup: MachineLookup, deadline: Deadline) -> str | None:
        for name in names:
            found = self._named.now((lookup.datacenter, name), deadline)
            if found:
                return _the_only(found, name)
        return None

    def _read_machines(self, moids: frozenset[str]) -> Mapping[str, VirtualMachine | ProviderError]:
        read = reading.read_objects(self._session, vim.VirtualMachine, sorted(moids), reading.MACHINE)
        busy = reading.running(self._session, read)
        found = {moid: _machine_or_error(moid, values, moid in busy) for moid, values in read.items()}
        return {moid: found.get(moid) or self._gone(moid) for moid in moids}

    def _list_names(self, asked: frozenset[Named]) -> Mapping[Named, tuple[str, ...] | ProviderError]:
        answers: dict[Named, tuple[str, ...] | ProviderError] = {}
        for datacenter in {one for one, _ in asked}:
            wanted = [key for key in asked if key[0] == datacenter]
            try:
                names = self._places.machine_names(datacenter)
            except ProviderError as error:
                answers |= dict.fromkeys(wanted, error)
            else:
                answers |= {key: tuple(names.get(key[1], ())) for key in wanted}
        return answers

    def _read_figures(self, moids: frozenset[str]) -> Mapping[str, Mapping[str, Json] | ProviderError]:
        read = reading.read_objects(self._session, vim.VirtualMachine, sorted(moids), reading.FIGURES)
        found = {moid: reading.figures_of(values) for moid, values in read.items()}
        return {moid: found.get(moid) or self._gone(moid) for moid in moids}

    def _gone(self, machine: str) -> ProviderError:
        return ResourceNotFoundError(f"there is no machine {machine} on {self._session.endpoint}")


def _machine_or_error(moid: str, values: Mapping[str, Any], busy: bool) -> VirtualMachine | ProviderError:
    try:
        return reading.machine_of(moid, values, busy)
    except ProviderError as error:
        return error


def _search(content: Any, resource: str) -> Any:
    if _UUID.fullmatch(resource):
        return content.searchIndex.FindByUuid(None, resource, True, True)
    return content.searchIndex.FindByInventoryPath(resource)


def _the_only(found: Sequence[str], name: str) -> str:
    if len(found) > 1:
        raise ResourceNotFoundError(
            f"{len(found)} machines are called {name!r}: {', '.join(sorted(found))}",
            hint="Name one by resource_id, or give connection_config a datacenter_name.",
        )
    return found[0]
