"""A vCenter through pyVmomi: everything that the provider asks for, as few requests as it takes."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, Final, TypeVar

from quiesce.errors import (
    NonRecoverableError,
    OperationTimeoutError,
    ProviderError,
    ResourceNotFoundError,
    UnsupportedError,
)
from quiesce.model.ids import Json
from quiesce.providers.vsphere import inventory, specs
from quiesce.providers.vsphere.center import (
    Area,
    BuildRequest,
    CopyRequest,
    Disk,
    ExportLease,
    Lookup,
    Machine,
    Patience,
    SnapshotRequest,
    Upload,
)
from quiesce.providers.vsphere.endpoints import Endpoint
from quiesce.providers.vsphere.places import Places
from quiesce.providers.vsphere.sdk import id_of, vim
from quiesce.providers.vsphere.session import Session
from quiesce.providers.vsphere.tasks import Tasks
from quiesce.providers.vsphere.together import Together
from quiesce.providers.vsphere.transfer import FileService, Lease

T = TypeVar("T")

_ID: Final = re.compile(r"vm-\d+|\d+")
_UUID: Final = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
#: how long a machine that was found once is taken to be the right one without looking again
_REMEMBERED_S: Final = 60.0
_SETTLE_S: Final = 0.5


class PyVmomiCenter:
    """Answers `quiesce.providers.vsphere.center.Center`."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._session = Session(endpoint)
        self._tasks = Tasks(self._session)
        self._places = Places(self._session)
        self._files = FileService(self._session, self._places.datacenter_path)
        self._machines: Together[str, Machine] = Together(self._read_machines)
        self._named: Together[tuple[str | None, str], tuple[str, ...]] = Together(self._list_names)
        self._figures: Together[str, Mapping[str, Json]] = Together(self._read_figures)
        self._found: dict[Lookup, tuple[float, str]] = {}

    # -- looking ---------------------------------------------------------------------------------------

    def find(self, lookup: Lookup) -> str:
        """Return the machine's id."""
        known = self._found.get(lookup)
        if known is not None and time.monotonic() - known[0] < _REMEMBERED_S:
            return known[1]
        found = self._find(lookup)
        self._found[lookup] = (time.monotonic(), found)
        return found

    def machine(self, machine: str) -> Machine:
        """Return the machine as it is now; concurrent calls are one request."""
        try:
            return self._machines.get(machine)
        except ResourceNotFoundError:
            self._found = {lookup: known for lookup, known in self._found.items() if known[1] != machine}
            raise

    def settle(self, machine: str, patience: Patience) -> Machine:
        """Return the machine once no task runs on it any more."""
        while (found := self.machine(machine)).busy:
            if patience.given_up() or patience.remaining_s() <= _SETTLE_S:
                raise OperationTimeoutError(f"another task on {found.name} does not end")
            time.sleep(_SETTLE_S)
        return found

    def children(self, name: str) -> tuple[str, ...]:
        """Return the ids of all machines and templates of exactly that name."""
        return self._named.get((None, name))

    def disks_at(self, snapshot: str) -> tuple[Disk, ...]:
        """Return the machine's disks as they were at the cut."""
        read = inventory.read_objects(self._session, vim.vm.Snapshot, [snapshot], ["config.hardware"])
        if snapshot not in read:
            raise ResourceNotFoundError(f"the snapshot {snapshot} is gone")
        return tuple(inventory.disks_of(read[snapshot]["config.hardware"]))

    def measure(self, machine: str) -> Mapping[str, Json]:
        """Return figures of a machine; concurrent requests are one query."""
        return self._figures.get(machine)

    def free_bytes(self, machine: str) -> int:
        """Return the least free space of the datastores that the machine lies on."""
        return self._places.free_bytes(machine)

    def missing_rights(self, machine: str, rights: Sequence[str]) -> tuple[str, ...]:
        """Return those of *rights* that this login has not on the machine."""

        def ask(content: Any) -> Any:
            key = content.sessionManager.currentSession.key
            entity = self._vm(machine)
            return content.authorizationManager.HasPrivilegeOnEntities([entity], key, list(rights))

        answers = self._session.read("ask for rights", ask)
        granted = {one.privId for answer in answers for one in answer.privAvailability if one.isGranted}
        return tuple(right for right in rights if right not in granted)

    def inventory(self, folder: str | None = None) -> tuple[Machine, ...]:
        """Return every machine, templates left out."""
        root = self._places.folder(folder) if folder else None
        read = inventory.read_all(self._session, vim.VirtualMachine, inventory.MACHINE, root)
        machines = (inventory.machine_of(moid, values, busy=False) for moid, values in read.items())
        return tuple(machine for machine in machines if not machine.template)

    # -- changing --------------------------------------------------------------------------------------

    def suspend(self, machine: str, patience: Patience) -> None:
        """Suspend a running machine."""
        self._run(f"suspend {machine}", lambda: self._vm(machine).SuspendVM_Task(), patience)

    def power_on(self, machine: str, patience: Patience) -> None:
        """Start a machine, or resume a suspended one."""
        self._run(f"start {machine}", lambda: self._vm(machine).PowerOnVM_Task(), patience)

    def power_off(self, machine: str, patience: Patience) -> None:
        """Switch a machine off at once."""
        self._run(f"switch {machine} off", lambda: self._vm(machine).PowerOffVM_Task(), patience)

    def create_snapshot(self, machine: str, request: SnapshotRequest, patience: Patience) -> str:
        """Make a snapshot and return its id."""
        vm = self._vm(machine)

        def start() -> Any:
            if request.quiesce and request.quiesce_timeout_min is not None:
                guest = vim.vm.GuestQuiesceSpec(timeout=request.quiesce_timeout_min)
                return vm.CreateSnapshotEx_Task(request.name, request.description, request.memory, guest)
            return vm.CreateSnapshot_Task(request.name, request.description, request.memory, request.quiesce)

        made = self._run(f"snapshot {machine}", start, patience, cancel=True)
        return id_of(made)

    def revert(self, snapshot: str, patience: Patience) -> None:
        """Put the snapshot's machine back to it."""
        found = self._session.bind(vim.vm.Snapshot, snapshot)
        self._run(f"revert to {snapshot}", found.RevertToSnapshot_Task, patience)

    def remove_snapshot(self, snapshot: str, patience: Patience) -> None:
        """Remove this snapshot only; one that is gone already is fine."""
        found = self._session.bind(vim.vm.Snapshot, snapshot)
        try:
            self._run(f"remove {snapshot}", lambda: found.RemoveSnapshot_Task(False, True), patience)
        except ResourceNotFoundError:
            return

    def clone(self, machine: str, snapshot: str | None, request: CopyRequest, patience: Patience) -> str:
        """Copy a machine, or its state at a snapshot, and return the copy's id."""
        source = self._vm(machine)
        folder = self._folder(request.folder, self.machine(machine).folder)
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
        made = self._run(what, lambda: source.CloneVM_Task(folder, request.name, spec), patience, cancel=True)
        return id_of(made)

    def destroy(self, machine: str, patience: Patience) -> None:
        """Remove a machine that is not running, with all disks that it has now."""
        try:
            self._run(f"destroy {machine}", lambda: self._vm(machine).Destroy_Task(), patience)
        except ResourceNotFoundError:
            return

    def mark(self, machine: str, marks: Mapping[str, str], patience: Patience) -> None:
        """Write our own settings into a machine's configuration."""
        spec = vim.vm.ConfigSpec(extraConfig=specs.settings_of(marks))
        self._run(f"mark {machine}", lambda: self._vm(machine).ReconfigVM_Task(spec), patience)

    def exchange(
        self,
        machine: str,
        *,
        out: Sequence[Disk],
        into: Sequence[Disk],
        hardware: Mapping[str, Json],
        marks: Mapping[str, str],
        patience: Patience,
    ) -> None:
        """Take disks out (their files stay) and put files in, in one change."""
        spec = specs.exchange_of(out, into, hardware, marks)
        what = f"exchange the disks of {machine}"
        self._run(what, lambda: self._vm(machine).ReconfigVM_Task(spec), patience)

    def rename(self, machine: str, name: str, patience: Patience) -> None:
        """Give a machine another name."""
        self._run(f"rename {machine}", lambda: self._vm(machine).Rename_Task(name), patience)

    # -- moving data -----------------------------------------------------------------------------------

    def export(self, machine: str, snapshot: str) -> AbstractContextManager[ExportLease]:
        """Return a lease to read the disks at a snapshot."""
        found = self._session.bind(vim.vm.Snapshot, snapshot)
        lease = self._session.change(f"export {machine}", lambda _: found.ExportSnapshot())
        return Lease(self._session, lease, self.machine(machine).hardware)

    def changed(self, machine: str, snapshot: str, disk: Disk, since: str) -> tuple[Area, ...]:
        """Return what changed between change id *since* and *snapshot*."""
        if disk.layered:
            raise UnsupportedError("older snapshots lie below it, and only flat files can be read in parts")
        areas: list[Area] = []
        at = 0
        while at < disk.capacity_bytes:
            found = self._query_changed(machine, snapshot, disk.key, at, since)
            areas += [Area(start=one.start, length=one.length) for one in found.changedArea or ()]
            if found.length <= 0:
                raise UnsupportedError("vSphere does not say what has changed to the disk's end")
            at = found.startOffset + found.length
        return tuple(areas)

    def read(self, disk: Disk, area: Area) -> bytes:
        """Return bytes of a snapshot's disk."""
        return self._files.read(disk.file, area)

    def build(self, request: BuildRequest, disks: Mapping[int, Upload], patience: Patience) -> str:
        """Make a machine from stream-optimised VMDKs, by disk key, and return its id."""
        datastore = request.datastore or str(request.hardware.get("datastore") or "")
        spec = vim.vm.VmImportSpec(configSpec=specs.build_of(request, datastore))
        pool = self._pool(request.pool)
        folder = self._folder(request.folder, request.folder_id)
        start: Callable[[Any], Any] = lambda _: pool.ImportVApp(spec, folder)  # noqa: E731  one of its kind
        lease = self._session.change(f"make {request.name!r}", start, patience.remaining_s())
        with Lease(self._session, lease, request.hardware) as writing:
            made = writing.machine
            missing = set(disks) - set(writing.keys())
            if missing:
                raise UnsupportedError(f"vSphere takes no content for the disks {sorted(missing)}")
            for key, upload in disks.items():
                writing.write(key, upload, patience)
        return made

    def close(self) -> None:
        """Log out."""
        self._tasks.close()
        self._files.close()
        self._session.close()

    # -- chapters --------------------------------------------------------------------------------------

    def _vm(self, moid: str) -> Any:
        return self._session.bind(vim.VirtualMachine, moid)

    def _run(self, what: str, start: Callable[[], Any], patience: Patience, *, cancel: bool = False) -> Any:
        task = self._session.change(what, lambda _: start(), patience.remaining_s())
        return self._tasks.result(task, what, patience, cancel=cancel)

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

    def _find(self, lookup: Lookup) -> str:
        if lookup.resource is not None:
            return self._find_resource(lookup.resource, lookup)
        if lookup.id is not None:
            return lookup.id
        for name in lookup.names:
            found = self._named.get((lookup.datacenter, name))
            if found:
                return _the_only(found, name)
        raise ResourceNotFoundError(f"there is no machine {lookup} on {self._session.endpoint}")

    def _find_resource(self, resource: str, lookup: Lookup) -> str:
        if _ID.fullmatch(resource):
            return resource
        if _UUID.fullmatch(resource) or "/" in resource:
            found = self._session.read(f"find {resource}", lambda content: _search(content, resource))
            if found is None:
                raise ResourceNotFoundError(f"there is no machine {resource} on {self._session.endpoint}")
            return id_of(found)
        named = self._named.get((lookup.datacenter, resource))
        if not named:
            raise ResourceNotFoundError(f"there is no machine {resource!r} on {self._session.endpoint}")
        return _the_only(named, resource)

    def _read_machines(self, moids: Sequence[str]) -> Mapping[str, Machine | Exception]:
        read = inventory.read_objects(self._session, vim.VirtualMachine, moids, inventory.MACHINE)
        busy = inventory.running(self._session, read)
        gone: dict[str, Machine | Exception] = {
            moid: ResourceNotFoundError(f"there is no machine {moid} on {self._session.endpoint}")
            for moid in moids
        }
        return gone | {moid: _machine_or_error(moid, values, moid in busy) for moid, values in read.items()}

    def _list_names(
        self, asked: Sequence[tuple[str | None, str]]
    ) -> Mapping[tuple[str | None, str], tuple[str, ...] | Exception]:
        answers: dict[tuple[str | None, str], tuple[str, ...] | Exception] = {}
        for datacenter in {one for one, _ in asked}:
            try:
                names = self._places.machine_names(datacenter)
            except ProviderError as error:
                answers |= {key: error for key in asked if key[0] == datacenter}
                continue
            answers |= {key: tuple(names.get(key[1], ())) for key in asked if key[0] == datacenter}
        return answers

    def _read_figures(self, moids: Sequence[str]) -> Mapping[str, Mapping[str, Json] | Exception]:
        paths = ["summary.quickStats", "summary.storage", "runtime.powerState"]
        read = inventory.read_objects(self._session, vim.VirtualMachine, moids, paths)
        gone: dict[str, Mapping[str, Json] | Exception] = {
            moid: ResourceNotFoundError(f"there is no machine {moid}") for moid in moids
        }
        return gone | {moid: inventory.figures_of(values) for moid, values in read.items()}


def _machine_or_error(moid: str, values: Mapping[str, Any], busy: bool) -> Machine | Exception:
    try:
        return inventory.machine_of(moid, values, busy)
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
