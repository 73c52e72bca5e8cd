"""The OpenStack provider keeps the contract on real Nova, Cinder and Glance."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("openstack", reason="needs the Python package openstacksdk (quiesce[openstack])")
sys.path.insert(0, str(Path(__file__).parents[1] / "labs" / "openstack"))

from lab import Lab, client_config, until
from lab_fixtures import NEEDS_LAB, empty_lab

from quiesce.errors import OperationTimeoutError
from quiesce.model.operation import Operation
from quiesce.providers.openstack import DESCRIPTION
from quiesce.providers.openstack.client import Service, SessionClient
from quiesce.providers.openstack.credentials import Credentials
from quiesce.providers.openstack.provider import OpenStackProvider
from quiesce.testing import ProviderContract, Subject

pytestmark = NEEDS_LAB

lab = pytest.fixture(scope="module")(empty_lab)

SERVER, VOLUME, *_NETWORKS = DESCRIPTION.kinds
CREATING = re.compile(r"POST (/servers/[^/]+/action|/snapshots)$")


class ForgetfulClient(SessionClient):
    """Loses the answer to one request that makes something."""

    def __init__(self, credentials: Credentials) -> None:
        super().__init__(credentials)
        self.losing = False

    def request(self, service: Service, method: str, path: str, **options: Any) -> dict[str, Any]:
        answer = super().request(service, method, path, **options)
        if self.losing and CREATING.search(f"{method} {path}"):
            self.losing = False
            raise OperationTimeoutError("the answer was lost")
        return answer


class LabSubject(Subject):
    """One resource of the lab."""

    timeout_s = 180.0

    def __init__(self, lab: Lab, resource_id: str, disk: str) -> None:
        self.lab = lab
        self.id = resource_id
        self.disk = disk
        self.properties: Mapping[str, Any] = {"resource_id": resource_id, "client_config": client_config()}
        self.clients: list[ForgetfulClient] = []

    def provider(self) -> OpenStackProvider:
        return OpenStackProvider(connect=self._connect)

    def _connect(self, credentials: Credentials) -> ForgetfulClient:
        self.clients.append(ForgetfulClient(credentials))
        self.clients[-1].losing = getattr(self, "lose_next", False)
        return self.clients[-1]

    def write(self, token: str) -> None:
        self.lab.write(self.disk, token)

    def read(self) -> str:
        return self.lab.read(self.disk)

    def objects(self) -> frozenset[str]:
        return self.lab.objects()

    def lose_answer(self, operation: Operation) -> None:
        self.lose_next = True
        for client in self.clients:
            client.losing = True


class ServerSubject(LabSubject):
    node_type = "cloudify.nodes.openstack.Server"
    capabilities = SERVER.capabilities
    operations = SERVER.capabilities.operations - {Operation.FREEZE, Operation.THAW}

    def suspended(self) -> bool:
        return self.lab.server_status(self.id) == "SUSPENDED"

    def plant_foreign(self, point: str, *, full: bool) -> None:
        image = self.lab.cloud.compute.create_server_image(self.id, f"server-{self.id}-{point}", wait=True)
        assert image.status == "active"


class VolumeSubject(LabSubject):
    node_type = "cloudify.nodes.openstack.Volume"
    capabilities = VOLUME.capabilities
    operations = VOLUME.capabilities.operations

    def plant_foreign(self, point: str, *, full: bool) -> None:
        storage = self.lab.cloud.block_storage
        name = f"volume-{self.id}-{point}"
        if full:
            backup = storage.create_backup(volume_id=self.id, name=name, force=True)
            until(lambda: storage.get_backup(backup.id).status == "available")
        else:
            snapshot = storage.create_snapshot(volume_id=self.id, name=name, is_forced=True)
            until(lambda: storage.get_snapshot(snapshot.id).status == "available")


@pytest.fixture(scope="module")
def server(lab: Lab) -> str:
    return lab.boot("contract")


@pytest.fixture(scope="module")
def server_on_volume(lab: Lab) -> str:
    server = lab.boot_from_volume("contract-on-volume")
    lab.attach(server, lab.volume("contract-extra"))
    return server


@pytest.fixture(scope="module")
def volume(lab: Lab) -> str:
    return lab.volume("contract-volume")


class TestServerThatBootsFromAnImage(ProviderContract):
    @pytest.fixture
    def subject(self, lab: Lab, server: str) -> Iterator[Subject]:
        yield ServerSubject(lab, server, f"server:{server}")
        until(lambda: lab.cloud.compute.get_server(server).task_state is None)
        lab.forget_points()


class TestServerThatBootsFromAVolume(ProviderContract):
    @pytest.fixture
    def subject(self, lab: Lab, server_on_volume: str) -> Iterator[Subject]:
        # a restore of the test before has booted it anew, and its image allows no cut without the agent
        until(lambda: lab.agent_answers(server_on_volume), 180)
        yield ServerSubject(lab, server_on_volume, f"volume:{lab.volumes_of(server_on_volume)[0]}")
        until(lambda: lab.cloud.compute.get_server(server_on_volume).task_state is None)
        lab.forget_points()


class TestVolume(ProviderContract):
    @pytest.fixture
    def subject(self, lab: Lab, volume: str) -> Iterator[Subject]:
        yield VolumeSubject(lab, volume, f"volume:{volume}")
        lab.forget_points()
