"""The OpenStack provider keeps the contract, over an OpenStack that answers as the real services do."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("openstack", reason="needs the Python package openstacksdk (quiesce[openstack])")
sys.path.insert(0, str(Path(__file__).parents[1] / "unit" / "openstack"))

from fake_openstack import FakeClient, FakeOpenStack

from quiesce.model.call import Call
from quiesce.model.operation import Operation
from quiesce.model.parameters import Parameters
from quiesce.provider_kit.listing import Pace
from quiesce.providers.openstack import DESCRIPTION
from quiesce.providers.openstack.provider import OpenStackProvider
from quiesce.testing import ProviderContract, Subject

QUICK = Pace(gather_s=0.0005, least_s=0.0005, most_s=0.002)
SERVER, VOLUME, *NETWORKS = DESCRIPTION.kinds


class OpenStackSubject(Subject):
    """One resource of a fake cloud."""

    timeout_s = 10.0
    provider_name = DESCRIPTION.name

    def __init__(self) -> None:
        self.cloud = FakeOpenStack()
        self.id = self.make()
        self.properties = {"resource_id": self.id}

    def make(self) -> str:
        raise NotImplementedError

    def disk(self) -> str:
        return self.id

    def provider(self) -> OpenStackProvider:
        return OpenStackProvider(connect=lambda _: FakeClient(self.cloud), pace=QUICK)

    def write(self, token: str) -> None:
        self.cloud.data[self.disk()] = token

    def read(self) -> str:
        self.cloud.settle()
        return self.cloud.data[self.disk()]

    def objects(self) -> frozenset[str]:
        return self.cloud.objects()

    def lose_answer(self, operation: Operation) -> None:
        self.cloud.lose_answer()


class ServerSubject(OpenStackSubject):
    node_type = "cloudify.nodes.openstack.Server"
    capabilities = SERVER.capabilities
    operations = SERVER.capabilities.operations - {Operation.FREEZE, Operation.THAW}

    def make(self) -> str:
        return self.cloud.boot()

    def suspended(self) -> bool:
        return self.cloud.servers[self.id]["status"] == "SUSPENDED"

    def plant_foreign(self, point: str, *, full: bool) -> None:
        self.cloud.plant_image(f"server-{self.id}-{point}")


class ServerWithVolumesSubject(ServerSubject):
    """Its data are on a volume that has no node of its own."""

    def make(self) -> str:
        return self.cloud.boot(volumes=2)

    def disk(self) -> str:
        return str(self.cloud.servers[self.id]["os-extended-volumes:volumes_attached"][1]["id"])


class VolumeBackedSubject(ServerSubject):
    node_type = "cloudify.openstack.nodes.Server"

    def make(self) -> str:
        self.root = self.cloud.boot(from_volume=True, volumes=1)
        return self.root

    def disk(self) -> str:
        return next(v["id"] for v in self.cloud.volumes.values() if v["bootable"] == "true")

    def plant_foreign(self, point: str, *, full: bool) -> None:
        if full:
            self.cloud.plant_backup(f"volume-{self.disk()}-{point}", self.disk())
        else:
            self.cloud.plant_image(f"server-{self.id}-{point}")


class GroupedSubject(VolumeBackedSubject):
    """Its volumes are a group, of which snapshots are of one instant."""

    def make(self) -> str:
        made = super().make()
        self.cloud.group(self.cloud.attached(made))
        return made

    def plant_foreign(self, point: str, *, full: bool) -> None:
        if full:
            super().plant_foreign(point, full=full)
        else:
            snapshot = self.cloud.plant_snapshot(f"server-{self.id}-{point}", self.disk())
            self.cloud.snapshots[snapshot]["group_snapshot_id"] = "theirs"


class GroupBesideImageSubject(ServerWithVolumesSubject):
    """It boots from an image, and its volumes are such a group."""

    def make(self) -> str:
        made = super().make()
        self.cloud.group(self.cloud.attached(made))
        return made


class VolumeSubject(OpenStackSubject):
    node_type = "cloudify.nodes.openstack.Volume"
    capabilities = VOLUME.capabilities
    operations = VOLUME.capabilities.operations

    def make(self) -> str:
        return self.cloud.volume()

    def plant_foreign(self, point: str, *, full: bool) -> None:
        plant = self.cloud.plant_backup if full else self.cloud.plant_snapshot
        plant(f"volume-{self.id}-{point}", self.id)


class AttachedVolumeSubject(VolumeSubject):
    """It is in use by a running server."""

    def make(self) -> str:
        self.server = self.cloud.boot(volumes=1)
        return str(self.cloud.servers[self.server]["os-extended-volumes:volumes_attached"][0]["id"])

    def read(self) -> str:
        assert self.cloud.volumes[self.id]["status"] == "in-use"
        assert self.cloud.servers[self.server]["status"] == "ACTIVE"
        return super().read()


class NetworkSubject(OpenStackSubject):
    """A definition that is kept in the catalog."""

    node_type = "cloudify.nodes.openstack.Network"
    modes = (False,)
    capabilities = NETWORKS[0].capabilities
    operations = NETWORKS[0].capabilities.operations

    def make(self) -> str:
        self.cloud.network["networks"] = {"n1": {"id": "n1", "name": "lan"}}
        return "n1"

    def call(self, operation: Operation, **changes: object) -> Call:
        return super().call(operation, **{"parameters": Parameters(apply_network=True), **changes})

    def write(self, token: str) -> None:
        self.cloud.network["networks"]["n1"]["name"] = token

    def read(self) -> str:
        return str(self.cloud.network["networks"]["n1"]["name"])

    def objects(self) -> frozenset[str]:
        raise NotImplementedError("nothing is made on the cloud")


class TestServer(ProviderContract):
    @pytest.fixture(
        params=[
            ServerSubject,
            ServerWithVolumesSubject,
            VolumeBackedSubject,
            GroupedSubject,
            GroupBesideImageSubject,
        ]
    )
    def subject(self, request: pytest.FixtureRequest) -> Iterator[Subject]:
        return request.param()


class TestVolume(ProviderContract):
    @pytest.fixture(params=[VolumeSubject, AttachedVolumeSubject])
    def subject(self, request: pytest.FixtureRequest) -> Iterator[Subject]:
        return request.param()


class TestNetwork(ProviderContract):
    @pytest.fixture
    def subject(self) -> Subject:
        return NetworkSubject()

    @pytest.mark.parametrize("full", [False], ids=["snapshot"])
    def test_applying_what_is_not_there_is_a_clear_error(self, subject: Subject, full: bool) -> None:
        pytest.skip("the artifact is all that there is, so nothing of it can be missing")
