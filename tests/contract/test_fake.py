"""The fake passes the suite too, or the fake lies."""

from __future__ import annotations

import pytest

from quiesce.model.operation import Operation
from quiesce.providers.fake import DESCRIPTION
from quiesce.providers.fake.provider import FakeProvider
from quiesce.providers.fake.world import FakeFault, FakeMisbehaviour, FakeThing, FakeWorld
from quiesce.testing import ProviderContract, Subject


class FakeSubject(Subject):
    provider_name = DESCRIPTION.name
    capabilities = DESCRIPTION.kinds[0].capabilities
    operations = capabilities.operations
    node_type = "quiesce.nodes.fake.Machine"

    def __init__(self) -> None:
        self.now = 0.0
        self.world = FakeWorld(tick=lambda: self.now)

    def provider(self) -> FakeProvider:
        return FakeProvider(world=self.world)

    def write(self, token: str) -> None:
        self.world.contents[self.instance] = token

    def read(self) -> str:
        return self.world.contents[self.instance]

    def frozen(self) -> bool:
        self.world.run_timers()
        return self.instance in self.world.frozen

    def suspended(self) -> bool:
        return self.instance in self.world.suspended

    def running(self) -> bool:
        return self.instance not in self.world.stopped

    def objects(self) -> frozenset[str]:
        return frozenset(self.world.things)

    def plant_foreign(self, point: str, *, full: bool) -> None:
        self.world.things[f"{self.instance}-{point}"] = FakeThing(
            instance=self.instance, maker=None, content="theirs", complete=True, full=full
        )

    def lose_answer(self, operation: Operation) -> None:
        self.world.faults.append(FakeFault(operation=operation, misbehaviour=FakeMisbehaviour.MUTE))

    def pass_time(self, seconds: float) -> None:
        self.now += seconds


class TestFakeProvider(ProviderContract):
    @pytest.fixture
    def subject(self) -> Subject:
        return FakeSubject()


class ServiceSubject(FakeSubject):
    """It can be stopped and started, too."""

    node_type = "quiesce.nodes.fake.Service"
    capabilities = DESCRIPTION.kinds[2].capabilities
    operations = capabilities.operations


class TestService(ProviderContract):
    @pytest.fixture
    def subject(self) -> ServiceSubject:
        return ServiceSubject()


class IdleSubject(FakeSubject):
    """It can be frozen and cut, and nothing else."""

    node_type = "quiesce.nodes.fake.Idle"
    capabilities = DESCRIPTION.kinds[1].capabilities
    operations = frozenset({Operation.FREEZE, Operation.THAW})


class TestIdle(ProviderContract):
    @pytest.fixture
    def subject(self) -> IdleSubject:
        return IdleSubject()
