"""Volumes, networks and pools of a real libvirtd."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.forgetful import forgetful
from tests.repository_objects import left_in, plant_foreign

from quiesce.errors import RecoverableError, UnsupportedError
from quiesce.model.call import Related
from quiesce.model.ids import InstanceId, NodeId
from quiesce.model.operation import Operation
from quiesce.model.topology import Node
from quiesce.testing import ProviderContract, Subject

from ..labs.libvirt import lab  # noqa: TID252  shared by several test modules
from ..labs.libvirt.fixtures import Bench, libvirt_lab, make_guest  # noqa: F401, TID252

pytestmark = [pytest.mark.platform("libvirt"), pytest.mark.timeout(600)]


class StorageSubject(Bench):
    """Something that is not a domain."""

    def __init__(self, uri: str, folder: Path, kind: Any, **properties: Any) -> None:
        super().__init__(lab.Guest("storage", uri=uri), folder, resource_id="storage", **properties)
        self.capabilities = kind.capabilities
        self.node_type = min(kind.types)
        self.operations = kind.capabilities.operations
        self.connection = self.guest.connection
        self._lost: list[Operation] = []

    def provider(self) -> Any:
        return forgetful(super().provider(), self._lost)

    def lose_answer(self, operation: Operation) -> None:
        self._lost.append(operation)

    def stored(self) -> list[str]:
        return [str(path) for path in left_in(self.repository, self.folder / "drafts")]

    def plant_foreign(self, point: str, *, full: bool) -> None:
        plant_foreign(self.settings(), point, self.instance)


class NetworkSubject(StorageSubject):
    def write(self, token: str) -> None:
        self.connection.networkDefineXML(
            f"<network><name>storage</name><uuid>{self.uuid}</uuid><mac address='52:54:00:61:6e:3a'/>"
            f"<domain name='{token}'/></network>"
        )

    uuid = "11111111-2222-3333-4444-555555555555"

    def read(self) -> str:
        xml = self.connection.networkLookupByName("storage").XMLDesc(0)
        return str(xml.split("<domain name='")[1].split("'")[0])

    def objects(self) -> frozenset[str]:
        names = [network.name() for network in self.connection.listAllNetworks(0)]
        return frozenset([*names, *self.stored()])


class PoolSubject(StorageSubject):
    def write(self, token: str) -> None:
        with contextlib.suppress(Exception):
            pool = self.connection.storagePoolLookupByName("storage")
            if pool.isActive():
                pool.destroy()
            pool.undefine()
        path = self.folder / f"pool-{token}"
        path.mkdir(exist_ok=True)
        pool = self.connection.storagePoolDefineXML(
            f"<pool type='dir'><name>storage</name><target><path>{path}</path></target></pool>", 0
        )
        pool.create(0)

    def read(self) -> str:
        xml = self.connection.storagePoolLookupByName("storage").XMLDesc(0)
        return str(xml.split("/pool-")[1].split("<")[0])

    def objects(self) -> frozenset[str]:
        names = [pool.name() for pool in self.connection.listAllStoragePools(0)]
        return frozenset([*names, *self.stored()])


class VolumeSubject(StorageSubject):
    @property
    def path(self) -> Path:
        return self.folder / "volumes" / "storage"

    def prepare(self, image_format: str) -> None:
        self.format = image_format
        self.path.parent.mkdir()
        subprocess.run(["qemu-img", "create", "-q", "-f", image_format, self.path, "8M"], check=True)
        pool = self.connection.storagePoolDefineXML(
            f"<pool type='dir'><name>volumes</name><target><path>{self.path.parent}</path></target></pool>", 0
        )
        pool.create(0)

    def forget(self) -> None:
        pool = self.connection.storagePoolLookupByName("volumes")
        pool.destroy()
        pool.undefine()

    def write(self, token: str) -> None:
        self._io(f"write -P {ord(token[0])} 1M 64k")

    def read(self) -> str:
        for token in ("before", "after", "later", "first", "second", "third", "between"):
            with contextlib.suppress(subprocess.CalledProcessError):
                self._io(f"read -P {ord(token[0])} 1M 64k")
                return token
        return "nothing"

    def objects(self) -> frozenset[str]:
        command = ["qemu-img", "snapshot", "-l", self.path]
        listed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        tags = [line.split()[1] for line in listed.splitlines()[2:]]
        return frozenset([*tags, *self.stored()])

    def plant_foreign(self, point: str, *, full: bool) -> None:
        if full:
            super().plant_foreign(point, full=full)
        else:
            subprocess.run(["qemu-img", "snapshot", "-c", f"{self.instance}-{point}", self.path], check=True)

    def _io(self, command: str) -> None:
        done = subprocess.run(
            ["qemu-io", "-f", self.format, "-c", command, self.path],
            capture_output=True,
            text=True,
            check=True,
        )
        if "failed" in done.stdout:
            raise subprocess.CalledProcessError(1, command)


class TestNetwork(ProviderContract):
    """A network's definition, put back because that is asked for."""

    @pytest.fixture
    def subject(self, libvirt_lab: str, tmp_path: Path) -> Iterator[Subject]:  # noqa: F811
        from quiesce.providers.libvirt import NETWORK

        made = NetworkSubject(libvirt_lab, tmp_path, NETWORK, apply_network=True)
        made.write("new")
        yield made
        made.connection.networkLookupByName("storage").undefine()

    def test_without_being_asked_only_the_difference_is_told(self, subject: NetworkSubject) -> None:
        subject.properties = {**subject.properties, "apply_network": False}
        cut = subject.do(Operation.SNAPSHOT)
        subject.do(Operation.COPY, artifact=cut.artifact)
        assert "as it was" in subject.do(Operation.APPLY).note
        subject.write("other")
        told = subject.do(Operation.APPLY)
        assert told.result == ['- <domain name="new" />', '+ <domain name="other" />']
        assert subject.read() == "other"


class TestPool(ProviderContract):
    """A pool's definition, put back because that is asked for."""

    @pytest.fixture
    def subject(self, libvirt_lab: str, tmp_path: Path) -> Iterator[Subject]:  # noqa: F811
        from quiesce.providers.libvirt import POOL

        made = PoolSubject(libvirt_lab, tmp_path, POOL, apply_network=True)
        made.write("new")
        yield made
        pool = made.connection.storagePoolLookupByName("storage")
        pool.destroy()
        pool.undefine()


class TestQcow2Volume(ProviderContract):
    """A volume that nobody uses."""

    @pytest.fixture
    def subject(self, libvirt_lab: str, tmp_path: Path) -> Iterator[Subject]:  # noqa: F811
        from quiesce.providers.libvirt import VOLUME

        made = VolumeSubject(libvirt_lab, tmp_path, VOLUME, pool="volumes")
        made.prepare("qcow2")
        yield made
        made.forget()


class TestRawVolume(ProviderContract):
    """A volume without snapshots: full copies only, and none that was written to meanwhile."""

    @pytest.fixture
    def subject(self, libvirt_lab: str, tmp_path: Path) -> Iterator[Subject]:  # noqa: F811
        from quiesce.providers.libvirt import VOLUME

        made = VolumeSubject(libvirt_lab, tmp_path, VOLUME, pool="volumes")
        made.prepare("raw")
        made.modes = (True,)
        yield made
        made.forget()

    @pytest.mark.parametrize("full", [True], ids=["backup"])
    def test_what_is_written_after_the_cut_is_not_in_it(self, subject: VolumeSubject, full: bool) -> None:
        from quiesce.errors import NonRecoverableError

        subject.write("before")
        cut = subject.do(Operation.SNAPSHOT, full=full)
        subject.write("between")
        with pytest.raises(NonRecoverableError, match="written"):
            subject.do(Operation.COPY, full=full, artifact=cut.artifact)

    def test_it_has_no_snapshots(self, subject: VolumeSubject) -> None:
        with pytest.raises(UnsupportedError, match="raw"):
            subject.do(Operation.SNAPSHOT)


def test_a_volume_in_use_is_saved_through_its_domain(
    libvirt_lab: str,  # noqa: F811
    make_guest: Callable[[str], lab.Guest],  # noqa: F811
    tmp_path: Path,
) -> None:
    guest = make_guest("user")
    guest.boot()
    pool = guest.connection.storagePoolDefineXML(
        f"<pool type='dir'><name>disks</name><target><path>{guest.disk().parent}</path></target></pool>", 0
    )
    pool.create(0)
    try:
        bench = Bench(guest, tmp_path, resource_id=guest.disk().name, pool="disks")
        bench.node_type = "quiesce.nodes.libvirt.Volume"
        machine = Related(
            instance=InstanceId("vm_1"),
            node=Node(id=NodeId("vm"), type="quiesce.nodes.libvirt.Domain", type_hierarchy=()),
            relationship="cloudify.relationships.connected_to",
            properties={"resource_id": guest.name},
            dependent=True,
        )
        outcome = bench.do(Operation.SNAPSHOT, full=True, related=(machine,))
        assert guest.name in outcome.note
        copied = bench.do(Operation.COPY, full=True, related=(machine,), artifact=outcome.artifact)
        bench.do(Operation.APPLY, full=True, related=(machine,), artifact=copied.artifact)
        bench.do(Operation.DELETE, full=True, related=(machine,), artifact=copied.artifact)
        with pytest.raises(UnsupportedError, match=guest.name):
            bench.do(Operation.SNAPSHOT, full=True)
        guest.destroy()
        cut = bench.do(Operation.SNAPSHOT)
        guest.start()
        with pytest.raises(RecoverableError, match=guest.name):
            bench.do(Operation.APPLY, artifact=cut.artifact)
        guest.destroy()
        bench.do(Operation.DELETE, artifact=cut.artifact)
    finally:
        pool.destroy()
        pool.undefine()
    guest.forget()
