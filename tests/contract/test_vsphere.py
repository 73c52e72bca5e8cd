"""vSphere keeps the provider contract: on a vCenter in memory and on the simulator, with task delays."""

from __future__ import annotations

import runpy
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from quiesce.backups import BackupHome
from quiesce.errors import OperationTimeoutError
from quiesce.model.ids import Json
from quiesce.model.operation import Operation
from quiesce.ports import ProviderSettings
from quiesce.provider_kit.deadline import Deadline
from quiesce.providers.vsphere import DESCRIPTION
from quiesce.providers.vsphere.inventory import PowerState
from quiesce.providers.vsphere.provider import VSphereProvider
from quiesce.providers.vsphere.vcenter import CloneRequest, SnapshotRequest
from quiesce.testing import ProviderContract, RecordingContext, Subject
from quiesce.testing.fake_vcenter import FakeVCenter, FakeVCenterWorld
from tests.repository_objects import left_in, plant_foreign

OPERATIONS = frozenset(
    {
        Operation.SUSPEND,
        Operation.RESUME,
        Operation.SNAPSHOT,
        Operation.COPY,
        Operation.APPLY,
        Operation.DELETE,
        Operation.PROBE,
        Operation.MEASURE,
    }
)


lab = SimpleNamespace(**runpy.run_path(str(Path(__file__).parents[1] / "labs" / "vcenter" / "lab.py")))


class Forgetful(FakeVCenter):
    """Makes a snapshot, then gives no answer, once."""

    silent = False

    def create_snapshot(self, machine: str, request: SnapshotRequest, deadline: Deadline) -> str:
        made = super().create_snapshot(machine, request, deadline)
        if self.silent:
            self.silent = False
            raise OperationTimeoutError("no answer")
        return made


class RememberedMachine(Subject):
    """A machine of a vCenter in memory."""

    operations = OPERATIONS
    capabilities = DESCRIPTION.kinds[0].capabilities
    provider_name = DESCRIPTION.name
    node_type = "quiesce.nodes.vsphere.Server"

    def __init__(self, directory: Path, target: str) -> None:
        self.center = Forgetful(FakeVCenterWorld())
        self.world = self.center.world
        self.machine = self.world.add("web")
        self.directory = directory
        self.target = target
        self.properties: Mapping[str, Json] = {
            "connection_config": {"host": "memory", "username": "u", "password": "p"},
            "resource_id": "web",
            "backup_to": target,
        }

    @property
    def settings(self) -> ProviderSettings:
        return ProviderSettings(
            state_dir="",
            repository=str(self.directory / "backups"),
            keys_file=str(self.directory / "keys"),
        )

    def home(self) -> BackupHome:
        return BackupHome.of(self.settings)

    def provider(self) -> VSphereProvider:
        return VSphereProvider(self.settings, connect=lambda _: self.center)

    def write(self, token: str) -> None:
        self.world.files[self._file] = token.encode()

    def read(self) -> str:
        return self.world.files[self._file].rstrip(b"\0").decode()

    def suspended(self) -> bool:
        return self.world.machines[self.machine].power is PowerState.SUSPENDED

    def objects(self) -> frozenset[str]:
        found = {f"machine {one.name}" for one in self.world.machines.values()}
        found |= {f"snapshot {cut.snapshot.name}" for cut in self.world.cuts.values()}
        found |= {f"disk {name}" for name in self.world.files}
        stored = left_in(self.directory / "backups", self.directory / "drafts")
        return frozenset(found) | {f"file {path}" for path in stored}

    def plant_foreign(self, point: str, *, full: bool) -> None:
        name = f"{self.instance}-{point}"
        if not full:
            request = SnapshotRequest(name=name, description="theirs")
            self.center.create_snapshot(self.machine, request, Deadline(RecordingContext()))
        elif self.target == "clone":
            self.center.clone(
                self.machine, None, CloneRequest(name=name, marks={}), Deadline(RecordingContext())
            )
        else:
            plant_foreign(self.settings, point, self.instance)

    def lose_answer(self, operation: Operation) -> None:
        assert operation is Operation.SNAPSHOT
        self.center.silent = True

    @property
    def _file(self) -> str:
        return self.world.machines[self.machine].disks[0].file


class SimulatedMachine(Subject):
    """A machine of the simulator, whose disk holds the token."""

    operations = OPERATIONS
    capabilities = DESCRIPTION.kinds[0].capabilities
    provider_name = DESCRIPTION.name
    node_type = "cloudify.vsphere.nodes.Server"

    def __init__(self, simulator: Any, directory: Path, target: str) -> None:
        self.simulator = simulator
        self.directory = directory
        name, machine = next(iter(sorted(simulator.machines().items())))
        self.machine = machine._moId
        self.target = target
        self.properties: Mapping[str, Json] = {
            "connection_config": simulator.connection,
            "server": {"name": name},
            "use_external_resource": True,
            "backup_to": target,
        }
        self.providers: list[VSphereProvider] = []
        self.limits: list[float] = []

    @property
    def timeout_s(self) -> float:  # type: ignore[override]
        return self.limits.pop() if self.limits else 60.0

    @property
    def settings(self) -> ProviderSettings:
        return ProviderSettings(
            state_dir=str(self.directory / "state"),
            repository=str(self.directory / "backups"),
            keys_file=str(self.directory / "keys"),
        )

    def home(self) -> BackupHome:
        return BackupHome.of(self.settings)

    def provider(self) -> VSphereProvider:
        self.providers.append(VSphereProvider(self.settings))
        return self.providers[-1]

    def close(self) -> None:
        for provider in self.providers:
            provider.close()

    def write(self, token: str) -> None:
        self.simulator.write(self.machine, token)

    def read(self) -> str:
        return str(self.simulator.read(self.machine))

    def suspended(self) -> bool:
        return bool(self.simulator.power(self.machine) == "suspended")

    def objects(self) -> frozenset[str]:
        stored = left_in(self.directory / "backups", self.directory / "drafts")
        return frozenset(self.simulator.objects()) | {f"file {path}" for path in stored}

    def plant_foreign(self, point: str, *, full: bool) -> None:
        machine, name = self.simulator.machine(self.machine), f"{self.instance}-{point}"
        if not full:
            self.simulator.run(machine.CreateSnapshot_Task(name, "theirs", False, False))
        elif self.target == "clone":
            self._plant_clone(machine, name)
        else:
            plant_foreign(self.settings, point, self.instance)

    def lose_answer(self, operation: Operation) -> None:
        assert operation is Operation.SNAPSHOT
        self.simulator.inject(method="CreateSnapshot_Task", kind="taskdelay", ms=4000, deaf=True)
        self.limits.append(3.0)

    def _plant_clone(self, machine: Any, name: str) -> None:
        from pyVmomi import vim

        spec = vim.vm.CloneSpec(location=vim.vm.RelocateSpec(), powerOn=False, template=False)
        self.simulator.run(machine.CloneVM_Task(machine.parent, name, spec))


class TestRepositoryInMemory(ProviderContract):
    @pytest.fixture
    def subject(self, tmp_path: Path) -> Subject:
        return RememberedMachine(tmp_path, "repository")


class TestClonesInMemory(ProviderContract):
    @pytest.fixture
    def subject(self, tmp_path: Path) -> Subject:
        return RememberedMachine(tmp_path, "clone")


@pytest.fixture(scope="module")
def simulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    lab.require()
    with lab.Lab(tmp_path_factory.mktemp("vcenter"), machines=1, task_delay="20ms") as running:
        yield running


class OnSimulator(ProviderContract):
    __test__ = False

    target: str

    @pytest.fixture
    def subject(self, simulator: Any, tmp_path: Path) -> Iterator[Subject]:
        subject = SimulatedMachine(simulator, tmp_path, self.target)
        yield subject
        subject.close()
        simulator.heal()
        _tidy(simulator, subject)


class TestRepositoryOnSimulator(OnSimulator):
    __test__ = True
    target = "repository"


class TestClonesOnSimulator(OnSimulator):
    __test__ = True
    target = "clone"


def _tidy(simulator: Any, subject: SimulatedMachine) -> None:
    """Remove everything but the machine, so that the next test finds the simulator as it was."""
    machine = simulator.machine(subject.machine)
    simulator.run(machine.RemoveAllSnapshots_Task())
    for other in simulator.machines().values():
        if other._moId != subject.machine:
            simulator.run(other.Destroy_Task())
