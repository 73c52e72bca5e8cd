"""The Compute Engine provider keeps the contract, on the stand-in."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

pytest.importorskip("google.cloud.compute_v1", reason="the package google-cloud-compute is missing")
pytest.importorskip("googleapiclient", reason="the package google-api-python-client is missing")
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "labs" / "gce"))

from fakegce import Cloud, Estate, Fault, serve
from fakegce.estate import PROJECT, ZONE

from quiesce.model.call import Call
from quiesce.model.ids import Json
from quiesce.model.operation import Operation
from quiesce.model.outcome import Outcome
from quiesce.ports import Context, Provider
from quiesce.providers.gcp import DESCRIPTION
from quiesce.providers.gcp.ownership import NAMES
from quiesce.providers.gcp.provider import GcpProvider
from quiesce.testing import ProviderContract, Subject

_CREATES = {
    "compute.disks.createSnapshot",
    "compute.regionDisks.createSnapshot",
    "compute.instantSnapshots.insert",
    "compute.regionInstantSnapshots.insert",
    "compute.machineImages.insert",
}


@pytest.fixture(scope="module")
def server() -> Iterator[tuple[Cloud, str]]:
    running, cloud, url = serve(op_seconds=0.002)
    yield cloud, url
    running.shutdown()
    running.server_close()


class Remembering:
    """A provider whose calls see the runtime properties that earlier ones set, as with an engine."""

    def __init__(self, memory: dict[str, Json]) -> None:
        self.provider = GcpProvider(sleep=lambda _: None)
        self.memory = memory

    def perform(self, call: Call, context: Context) -> Outcome:
        try:
            return self.provider.perform(call, context)
        finally:
            kept = getattr(context, "runtime_properties", None)
            if kept is not None:
                self.memory.clear()
                self.memory.update(kept)

    def is_frozen(self, call: Call, context: Context) -> bool | None:
        return self.provider.is_frozen(call, context)

    def close(self) -> None:
        self.provider.close()


class GcpSubject(Subject):
    provider_name = DESCRIPTION.name
    operations = frozenset(Operation) - {Operation.FREEZE, Operation.THAW}
    timeout_s = 20.0
    extra: Mapping[str, Json] = {}

    def __init__(self, cloud: Cloud, url: str) -> None:
        cloud.reset()
        self.cloud, self.estate = cloud, Estate(cloud)
        self.memory: dict[str, Json] = {}
        config: dict[str, Json] = {"project": PROJECT, "zone": ZONE, "api_endpoint": url}
        self.properties = {"resource_id": self.build(), "gcp_config": config, **self.extra}
        self.open: list[Remembering] = []

    def build(self) -> str:
        raise NotImplementedError

    def provider(self) -> Provider:
        self.open.append(Remembering(self.memory))
        return self.open[-1]

    def call(self, operation: Operation, **changes: object) -> Call:
        return super().call(operation, **({"runtime_properties": dict(self.memory)} | changes))

    def objects(self) -> frozenset[str]:
        return self.estate.objects()

    def lose_answer(self, operation: Operation) -> None:
        assert operation is Operation.SNAPSHOT
        self.cloud.faults += [Fault(kind="lost", method=method, count=6) for method in _CREATES]

    def close(self) -> None:
        for provider in self.open:
            provider.close()


class MachineSubject(GcpSubject):
    """A machine of three disks, one of them regional, by snapshots of its disks."""

    capabilities = DESCRIPTION.kinds[0].capabilities
    node_type = "cloudify.gcp.nodes.Instance"
    extra: Mapping[str, Json] = {"copy_as": "disks"}

    def build(self) -> str:
        disks = [self.estate.disk("boot"), self.estate.disk("data"), self.estate.regional_disk("both")]
        return self.estate.machine("vm", disks)

    def write(self, token: str) -> None:
        self.estate.write_all("projects/lab-project/zones/us-central1-a/instances/vm", token)

    def read(self) -> str:
        return self.estate.read_all("projects/lab-project/zones/us-central1-a/instances/vm")

    def suspended(self) -> bool:
        return self.estate.find("zones/us-central1-a/instances/vm")["status"] == "SUSPENDED"

    def plant_foreign(self, point: str, *, full: bool) -> None:
        name = NAMES.name(self.instance, point, "device-1", "contract")
        self._plant(name, self.estate.attached("zones/us-central1-a/instances/vm")["device-1"], full=full)

    def _plant(self, name: str, disk: str, *, full: bool) -> None:
        path = disk.partition(f"{PROJECT}/")[2]
        if full:
            self.estate.request("POST", f"{path}/createSnapshot", {"name": name})
        else:
            where = path.partition("/disks/")[0]
            self.estate.request("POST", f"{where}/instantSnapshots", {"name": name, "sourceDisk": disk})


class ImageSubject(MachineSubject):
    """The same machine, by machine images."""

    extra: Mapping[str, Json] = {"copy_as": "machine_image"}

    def plant_foreign(self, point: str, *, full: bool) -> None:
        name = NAMES.name(self.instance, point, "machine", "contract")
        source = "zones/us-central1-a/instances/vm"
        body = {"name": name, "sourceInstance": f"projects/{PROJECT}/{source}"}
        self.estate.request("POST", "global/machineImages", body)


class DiskSubject(MachineSubject):
    """The zonal data disk of a running machine."""

    capabilities = DESCRIPTION.kinds[1].capabilities
    node_type = "cloudify.gcp.nodes.Volume"
    operations = MachineSubject.operations - {Operation.SUSPEND, Operation.RESUME}
    device = "device-1"
    extra: Mapping[str, Json] = {}

    def build(self) -> str:
        machine = super().build()
        return self.estate.attached(machine)[self.device]

    def _disk(self) -> str:
        return self.estate.attached("zones/us-central1-a/instances/vm")[self.device]

    def write(self, token: str) -> None:
        self.estate.write(self._disk(), token)

    def read(self) -> str:
        return self.estate.read(self._disk())

    def plant_foreign(self, point: str, *, full: bool) -> None:
        name = NAMES.name(self.instance, point, self._disk().rpartition("/")[2], "contract")
        self._plant(name, self._disk(), full=full)


class RegionalDiskSubject(DiskSubject):
    """The regional disk of a running machine."""

    device = "device-2"


class OldDiskSubject(DiskSubject):
    """A disk of a kind that offers no instant snapshots."""

    def build(self) -> str:
        path = super().build()
        self.cloud.no_instant.add("pd-balanced")
        return path

    def plant_foreign(self, point: str, *, full: bool) -> None:
        super().plant_foreign(point, full=True)


class _OnStandIn(ProviderContract):
    kind: type[GcpSubject]

    @pytest.fixture
    def subject(self, server: tuple[Cloud, str]) -> Iterator[Subject]:
        made = self.kind(*server)
        yield made
        made.close()
        made.cloud.no_instant.discard("pd-balanced")
        assert made.estate.off_schema() == []


class TestMachineByItsDisks(_OnStandIn):
    kind = MachineSubject


class TestMachineByImage(_OnStandIn):
    kind = ImageSubject


class TestZonalDisk(_OnStandIn):
    kind = DiskSubject


class TestRegionalDisk(_OnStandIn):
    kind = RegionalDiskSubject


class TestDiskWithoutInstantSnapshots(_OnStandIn):
    kind = OldDiskSubject
