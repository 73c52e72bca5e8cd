"""The only importer of libvirt's binding: connections, and the few things we ask of them.

Everything that comes out of here is plain (XML as text, numbers, names), everything that fails raises our
own errors.
"""

from __future__ import annotations

import contextlib
import enum
import json
import threading
from collections.abc import Iterator, Mapping
from typing import Any, Final

import libvirt  # type: ignore[import-not-found,import-untyped,unused-ignore]
import libvirt_qemu  # type: ignore[import-not-found,import-untyped,unused-ignore]

from quiesce.errors import RecoverableError, ResourceNotFoundError
from quiesce.model.ids import Json
from quiesce.providers.libvirt.errors import translate
from quiesce.providers.libvirt.xml import METADATA_URI

METADATA_PREFIX: Final = "quiesce"
_EVENTS: Final = (
    libvirt.VIR_DOMAIN_EVENT_ID_LIFECYCLE,
    libvirt.VIR_DOMAIN_EVENT_ID_JOB_COMPLETED,
    libvirt.VIR_DOMAIN_EVENT_ID_BLOCK_JOB_2,
    libvirt.VIR_DOMAIN_EVENT_ID_AGENT_LIFECYCLE,
)


class DomainState(enum.Enum):
    """What a domain is doing."""

    RUNNING = "running"
    PAUSED = "paused"
    #: paused by QEMU itself, because a disk (its own or a backup's scratch file) could not be written
    STUCK = "stuck"
    OFF = "off"


class OffReason(enum.Enum):
    """Why a domain is off."""

    SHUT_DOWN = "shut down"
    SAVED = "saved"
    OTHER = "stopped"


@contextlib.contextmanager
def _doing(what: str) -> Iterator[None]:
    try:
        yield
    except libvirt.libvirtError as error:
        raise translate(error.get_error_code(), str(error.get_error_message()), what) from error


class LibvirtEvents:
    """Ends the pauses of those who wait for something to happen at a hypervisor."""

    def __init__(self) -> None:
        self._happened = threading.Condition()

    def notify(self, *_: object) -> None:
        """Let everybody look again."""
        with self._happened:
            self._happened.notify_all()

    def sleep(self, seconds: float) -> None:
        """Return after *seconds*, or when something happens."""
        with self._happened:
            self._happened.wait(seconds)


class Domain:
    """One domain. Methods are what libvirt does, with its time limits and its errors made ours."""

    def __init__(self, handle: Any, events: LibvirtEvents) -> None:
        self._handle = handle
        self.events = events
        self.name: str = handle.name()
        self.uuid: str = handle.UUIDString()

    def state(self) -> DomainState:
        """Return what it is doing."""
        with _doing(f"look at {self.name}"):
            state, reason = self._handle.state()
        if state in {libvirt.VIR_DOMAIN_SHUTOFF, libvirt.VIR_DOMAIN_CRASHED}:
            return DomainState.OFF
        if state in {libvirt.VIR_DOMAIN_PAUSED, libvirt.VIR_DOMAIN_PMSUSPENDED}:
            return DomainState.STUCK if reason == libvirt.VIR_DOMAIN_PAUSED_IOERROR else DomainState.PAUSED
        return DomainState.RUNNING

    def why_off(self) -> OffReason:
        """Return why it is off."""
        with _doing(f"look at {self.name}"):
            reason = self._handle.state()[1]
        reasons = {
            libvirt.VIR_DOMAIN_SHUTOFF_SHUTDOWN: OffReason.SHUT_DOWN,
            libvirt.VIR_DOMAIN_SHUTOFF_SAVED: OffReason.SAVED,
        }
        return OffReason.SAVED if self.has_managed_save() else reasons.get(reason, OffReason.OTHER)

    def is_persistent(self) -> bool:
        """Tell whether libvirt keeps its definition when it stops."""
        with _doing(f"look at {self.name}"):
            return bool(self._handle.isPersistent())

    def autostart(self) -> bool:
        """Tell whether it starts with the host; its definition does not say so."""
        with _doing(f"look at {self.name}"):
            return bool(self._handle.autostart())

    def set_autostart(self) -> None:
        """Let it start with the host."""
        with _doing(f"let {self.name} start with the host"):
            self._handle.setAutostart(1)

    def xml(self, *, live: bool = False, secrets: bool = False) -> str:
        """Return its definition: the one it will start with, or the one it runs with."""
        flags = 0 if live else libvirt.VIR_DOMAIN_XML_INACTIVE
        if secrets:
            flags |= libvirt.VIR_DOMAIN_XML_SECURE
        with _doing(f"read the definition of {self.name}"):
            return str(self._handle.XMLDesc(flags))

    def metadata(self, *, live: bool) -> str | None:
        """Return our element in its metadata; None when there is none, as in a transient domain's config."""
        if not live and not self.is_persistent():
            return None
        where = libvirt.VIR_DOMAIN_AFFECT_LIVE if live else libvirt.VIR_DOMAIN_AFFECT_CONFIG
        try:
            with _doing(f"read the metadata of {self.name}"):
                return str(self._handle.metadata(libvirt.VIR_DOMAIN_METADATA_ELEMENT, METADATA_URI, where))
        except ResourceNotFoundError:
            return None

    def set_metadata(self, element: str | None, *, live: bool) -> None:
        """Replace our element in its metadata."""
        where = libvirt.VIR_DOMAIN_AFFECT_LIVE if live else libvirt.VIR_DOMAIN_AFFECT_CONFIG
        kind = libvirt.VIR_DOMAIN_METADATA_ELEMENT
        with _doing(f"write the metadata of {self.name}"), contextlib.suppress(ResourceNotFoundError):
            self._handle.setMetadata(kind, element, METADATA_PREFIX, METADATA_URI, where)

    def agent(self, command: str, arguments: Mapping[str, Json] | None = None, *, limit_s: float) -> Json:
        """Ask the guest agent, and wait for its answer no longer than *limit_s*."""
        request = json.dumps({"execute": command} | ({"arguments": arguments} if arguments else {}))
        with _doing(f"ask the agent of {self.name} for {command}"):
            answer = libvirt_qemu.qemuAgentCommand(self._handle, request, max(1, round(limit_s)), 0)
        try:
            said = json.loads(answer)
        except (ValueError, RecursionError):
            said = None
        if not isinstance(said, dict):
            raise RecoverableError(f"the agent of {self.name} answers {command} with nonsense")
        result: Json = said.get("return")
        return result

    def suspend(self) -> None:
        """Stop its processors."""
        with _doing(f"suspend {self.name}"):
            self._handle.suspend()

    def resume(self) -> None:
        """Let its processors go on."""
        with _doing(f"resume {self.name}"):
            self._handle.resume()

    def save(self) -> None:
        """Write its memory to the managed save file and stop it."""
        with _doing(f"save {self.name}"):
            self._handle.managedSave(libvirt.VIR_DOMAIN_SAVE_RUNNING)

    def has_managed_save(self) -> bool:
        """Tell whether its next start continues from a managed save file."""
        with _doing(f"look at {self.name}"):
            return bool(self._handle.hasManagedSaveImage(0))

    def drop_managed_save(self) -> None:
        """Remove the managed save file."""
        if self.has_managed_save():
            with _doing(f"drop the saved memory of {self.name}"):
                self._handle.managedSaveRemove(0)

    def start(self, *, paused: bool = False) -> None:
        """Start it, or continue from its managed save file."""
        with _doing(f"start {self.name}"):
            self._handle.createWithFlags(libvirt.VIR_DOMAIN_START_PAUSED if paused else 0)

    def destroy(self) -> None:
        """Cut its power; fine when it is off."""
        if self.state() is not DomainState.OFF:
            with _doing(f"stop {self.name}"):
                self._handle.destroy()

    # -- snapshots --------------------------------------------------------------------------------------

    def snapshot(self, xml: str, *, disk_only: bool, metadata: bool) -> None:
        """Take a snapshot of all its disks at one instant."""
        flags = libvirt.VIR_DOMAIN_SNAPSHOT_CREATE_ATOMIC
        if disk_only:
            flags |= libvirt.VIR_DOMAIN_SNAPSHOT_CREATE_DISK_ONLY
        if not metadata:
            flags |= libvirt.VIR_DOMAIN_SNAPSHOT_CREATE_NO_METADATA
        with _doing(f"take a snapshot of {self.name}"):
            self._handle.snapshotCreateXML(xml, flags)

    def snapshots(self) -> dict[str, str]:
        """Return the XML of every snapshot libvirt knows of, by name."""
        with _doing(f"list the snapshots of {self.name}"):
            return {found.getName(): found.getXMLDesc(0) for found in self._handle.listAllSnapshots(0)}

    def revert(self, name: str) -> None:
        """Go back to an internal snapshot."""
        with _doing(f"revert {self.name} to {name}"):
            self._handle.revertToSnapshot(
                self._handle.snapshotLookupByName(name), libvirt.VIR_DOMAIN_SNAPSHOT_REVERT_FORCE
            )

    def delete_snapshot(self, name: str) -> None:
        """Remove an internal snapshot."""
        with _doing(f"remove snapshot {name} of {self.name}"):
            self._handle.snapshotLookupByName(name).delete(0)

    # -- backup jobs and checkpoints --------------------------------------------------------------------

    def begin_backup(self, xml: str, checkpoint: str | None) -> None:
        """Begin a backup job; the point in time is fixed when this returns."""
        with _doing(f"begin a backup of {self.name}"):
            self._handle.backupBegin(xml, checkpoint, 0)

    def backup_xml(self) -> str | None:
        """Return the backup job that runs; None when none does."""
        try:
            with _doing(f"look at the backup of {self.name}"):
                return str(self._handle.backupGetXMLDesc(0))
        except ResourceNotFoundError:
            return None

    def job(self) -> str | None:
        """Return the kind of job that libvirt works on, in a word; None when it works on none."""
        with _doing(f"look at the job of {self.name}"):
            job = self._handle.jobStats(0)
        if job.get("type", 0) == libvirt.VIR_DOMAIN_JOB_NONE:
            return None
        return _JOBS.get(job.get("operation"), "unknown")

    def abort_job(self) -> None:
        """End the job that runs."""
        with _doing(f"end the job of {self.name}"):
            self._handle.abortJob()

    def checkpoints(self) -> dict[str, str]:
        """Return the XML of every checkpoint, by name, oldest first."""
        flags = libvirt.VIR_DOMAIN_CHECKPOINT_XML_NO_DOMAIN
        with _doing(f"list the checkpoints of {self.name}"):
            found = self._handle.listAllCheckpoints(libvirt.VIR_DOMAIN_CHECKPOINT_LIST_TOPOLOGICAL)
            return {checkpoint.getName(): checkpoint.getXMLDesc(flags) for checkpoint in found}

    def delete_checkpoint(self, name: str, *, metadata_only: bool = False) -> None:
        """Remove a checkpoint, its bitmap merged into the one before."""
        flags = libvirt.VIR_DOMAIN_CHECKPOINT_DELETE_METADATA_ONLY if metadata_only else 0
        with _doing(f"remove checkpoint {name} of {self.name}"):
            self._handle.checkpointLookupByName(name).delete(flags)

    # -- block jobs -------------------------------------------------------------------------------------

    def commit_block(self, disk: str, *, base: str, top: str, active: bool) -> None:
        """Begin to merge *top* into *base*, which is right below it."""
        flags = libvirt.VIR_DOMAIN_BLOCK_COMMIT_ACTIVE if active else 0
        with _doing(f"merge {top} into {base}"):
            self._handle.blockCommit(disk, base, top, 0, flags)

    def block_job(self, disk: str) -> tuple[int, int] | None:
        """Return done and total of the disk's block job; None when there is none."""
        with _doing(f"look at disk {disk} of {self.name}"):
            job = self._handle.blockJobInfo(disk, 0)
        return (job["cur"], job["end"]) if job else None

    def pivot(self, disk: str) -> None:
        """Let the disk's active layer be the one it was merged into."""
        with _doing(f"pivot disk {disk} of {self.name}"):
            self._handle.blockJobAbort(disk, libvirt.VIR_DOMAIN_BLOCK_JOB_ABORT_PIVOT)

    def block_sizes(self, disk: str) -> tuple[int, int]:
        """Return a disk's capacity and allocation in bytes."""
        with _doing(f"look at disk {disk} of {self.name}"):
            capacity, allocation, _ = self._handle.blockInfo(disk, 0)
        return int(capacity), int(allocation)


class HypervisorObject:
    """A network, pool or volume: something with a definition."""

    def __init__(self, handle: Any, hypervisor: Hypervisor, kind: str) -> None:
        self._handle = handle
        self._hypervisor = hypervisor
        self._kind = kind
        self.name: str = handle.name()

    def xml(self) -> str:
        """Return its definition."""
        flags = {"network": libvirt.VIR_NETWORK_XML_INACTIVE, "pool": libvirt.VIR_STORAGE_XML_INACTIVE}
        with _doing(f"read the definition of {self._kind} {self.name}"):
            return str(self._handle.XMLDesc(flags.get(self._kind, 0)))

    def is_active(self) -> bool:
        """Tell whether it is switched on."""
        with _doing(f"look at {self._kind} {self.name}"):
            return bool(self._handle.isActive())

    def start(self) -> None:
        """Switch it on."""
        with _doing(f"start {self._kind} {self.name}"):
            self._handle.create() if self._kind == "network" else self._handle.create(0)

    def remove(self) -> None:
        """Switch it off and remove its definition, nothing of what it holds."""
        with _doing(f"undefine {self._kind} {self.name}"):
            if self._handle.isActive():
                self._handle.destroy()
            self._handle.undefine()

    def refresh(self) -> None:
        """Let a pool see files that others made."""
        with _doing(f"refresh pool {self.name}"):
            self._handle.refresh(0)

    def volumes(self) -> list[HypervisorObject]:
        """Return a pool's volumes."""
        with _doing(f"list the volumes of pool {self.name}"):
            return [
                HypervisorObject(handle, self._hypervisor, "volume")
                for handle in self._handle.listAllVolumes(0)
            ]

    def path(self) -> str:
        """Return where a volume lies."""
        with _doing(f"look at volume {self.name}"):
            return str(self._handle.path())


class Hypervisor:
    """One connection."""

    def __init__(self, uri: str) -> None:
        self.uri = uri
        self.events = LibvirtEvents()
        _start_event_loop()
        with _doing(f"connect to {uri}"):
            self._connection = libvirt.open(uri)
            self._connection.setKeepAlive(5, 3)
            for event in _EVENTS:
                self._connection.domainEventRegisterAny(None, event, self.events.notify, None)
            self._connection.registerCloseCallback(self.events.notify, None)

    def is_alive(self) -> bool:
        """Tell whether it can still be used."""
        try:
            return bool(self._connection.isAlive())
        except libvirt.libvirtError:
            return False

    def close(self) -> None:
        """Give the connection back."""
        with contextlib.suppress(libvirt.libvirtError):
            self._connection.unregisterCloseCallback()
        with contextlib.suppress(libvirt.libvirtError):
            self._connection.close()

    def domain(self, name: str) -> Domain:
        """Return the domain of that name or UUID."""
        lookup = self._connection.lookupByUUIDString if _is_uuid(name) else self._connection.lookupByName
        with _doing(f"find domain {name} at {self.uri}"):
            return Domain(lookup(name), self.events)

    def domains(self) -> list[Domain]:
        """Return all domains."""
        with _doing(f"list the domains at {self.uri}"):
            return [Domain(handle, self.events) for handle in self._connection.listAllDomains(0)]

    def define_domain(self, xml: str) -> Domain:
        """Make or replace a domain's definition."""
        with _doing("define a domain"):
            return Domain(self._connection.defineXML(xml), self.events)

    def network(self, name: str) -> HypervisorObject:
        """Return the network of that name or UUID."""
        by_name, by_uuid = self._connection.networkLookupByName, self._connection.networkLookupByUUIDString
        with _doing(f"find network {name}"):
            return HypervisorObject((by_uuid if _is_uuid(name) else by_name)(name), self, "network")

    def networks(self) -> list[HypervisorObject]:
        """Return all networks."""
        with _doing("list the networks"):
            return [
                HypervisorObject(handle, self, "network") for handle in self._connection.listAllNetworks(0)
            ]

    def define_network(self, xml: str) -> HypervisorObject:
        """Make or replace a network's definition."""
        with _doing("define a network"):
            return HypervisorObject(self._connection.networkDefineXML(xml), self, "network")

    def pool(self, name: str) -> HypervisorObject:
        """Return the pool of that name or UUID."""
        by_name = self._connection.storagePoolLookupByName
        by_uuid = self._connection.storagePoolLookupByUUIDString
        with _doing(f"find pool {name}"):
            return HypervisorObject((by_uuid if _is_uuid(name) else by_name)(name), self, "pool")

    def pools(self) -> list[HypervisorObject]:
        """Return all pools."""
        with _doing("list the pools"):
            return [
                HypervisorObject(handle, self, "pool") for handle in self._connection.listAllStoragePools(0)
            ]

    def define_pool(self, xml: str) -> HypervisorObject:
        """Make or replace a pool's definition."""
        with _doing("define a pool"):
            return HypervisorObject(self._connection.storagePoolDefineXML(xml, 0), self, "pool")

    def volume(self, name: str, pool: str | None) -> HypervisorObject:
        """Return the volume of that name in *pool*, or of that path or name in any."""
        with _doing(f"find volume {name}"):
            if pool:
                found = self._connection.storagePoolLookupByName(pool).storageVolLookupByName(name)
            elif "/" in name:
                found = self._connection.storageVolLookupByPath(name)
            else:
                return self._volume_anywhere(name)
            return HypervisorObject(found, self, "volume")

    def _volume_anywhere(self, name: str) -> HypervisorObject:
        for pool in self.pools():
            if pool.is_active():
                for volume in pool.volumes():
                    if volume.name == name:
                        return volume
        raise ResourceNotFoundError(f"no active pool has a volume {name}")

    def statistics(self) -> dict[str, Mapping[str, Any]]:
        """Return the figures of all running domains by UUID, in one call."""
        groups = (
            libvirt.VIR_DOMAIN_STATS_STATE
            | libvirt.VIR_DOMAIN_STATS_CPU_TOTAL
            | libvirt.VIR_DOMAIN_STATS_BALLOON
            | libvirt.VIR_DOMAIN_STATS_VCPU
            | libvirt.VIR_DOMAIN_STATS_INTERFACE
            | libvirt.VIR_DOMAIN_STATS_BLOCK
        )
        with _doing("read the statistics of all domains"):
            found = self._connection.getAllDomainStats(
                groups, libvirt.VIR_CONNECT_GET_ALL_DOMAINS_STATS_ACTIVE
            )
        return {domain.UUIDString(): figures for domain, figures in found}


_JOBS: Final = {
    libvirt.VIR_DOMAIN_JOB_OPERATION_BACKUP: "backup",
    libvirt.VIR_DOMAIN_JOB_OPERATION_SAVE: "save",
    libvirt.VIR_DOMAIN_JOB_OPERATION_DUMP: "dump",
    libvirt.VIR_DOMAIN_JOB_OPERATION_SNAPSHOT: "snapshot",
    libvirt.VIR_DOMAIN_JOB_OPERATION_MIGRATION_OUT: "migration",
    libvirt.VIR_DOMAIN_JOB_OPERATION_MIGRATION_IN: "migration",
}

_event_loop = threading.Lock()
_event_loop_runs = threading.Event()


def _start_event_loop() -> None:
    """Run libvirt's event loop in a thread, once for the process: the binding allows no second one."""
    with _event_loop:
        if _event_loop_runs.is_set():
            return
        libvirt.registerErrorHandler(lambda *_: None, None)
        libvirt.virEventRegisterDefaultImpl()
        threading.Thread(target=_run_events, name="libvirt-events", daemon=True).start()
        _event_loop_runs.set()


def _run_events() -> None:
    while True:
        with contextlib.suppress(libvirt.libvirtError):
            libvirt.virEventRunDefaultImpl()


def _is_uuid(name: str) -> bool:
    return len(name) == 36 and name.count("-") == 4 and all(c in "0123456789abcdefABCDEF-" for c in name)
