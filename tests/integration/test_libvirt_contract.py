"""The libvirt provider keeps the contract on a real libvirtd, with a real guest."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.forgetful import forgetful
from tests.repository_objects import left_in, plant_foreign

from quiesce.errors import ProviderError
from quiesce.model.operation import Operation
from quiesce.testing import ProviderContract, Subject

from ..labs.libvirt import lab  # noqa: TID252  shared by several test modules
from ..labs.libvirt.fixtures import Bench, libvirt_lab, make_guest  # noqa: F401, TID252

pytestmark = [pytest.mark.platform("libvirt"), pytest.mark.timeout(600)]


class DomainSubject(Bench):
    short_timer_s = 2.0
    timeout_s = 120.0

    def __init__(self, guest: lab.Guest, folder: Path, **properties: Any) -> None:
        super().__init__(guest, folder, **properties)
        self._lost: list[Operation] = []

    def begin(self) -> None:
        """Have the guest run, as good as new."""
        if not self.guest.is_fresh():
            self.guest.boot()
            self.guest.wait_for_writer(3)

    def end(self) -> None:
        """Take away what a test has left; `begin` looks whether that was enough."""
        for path in (lab.FOLDER / "disks").glob(f"{self.guest.name}-vda.*"):
            if path.read_bytes()[:6] == b"theirs":
                path.unlink()
        for point in ("one", "two"):
            for full in self.modes:
                with contextlib.suppress(ProviderError):
                    self.do(Operation.DELETE, point, full=full)

    def provider(self) -> Any:
        from quiesce.providers.libvirt.provider import LibvirtProvider

        return forgetful(LibvirtProvider(self.settings()), self._lost)

    def write(self, token: str) -> None:
        self.guest.wait_for_agent()
        self.guest.shell(f"echo {token} >/data/token; sync")

    def read(self) -> str:
        self.guest.wait_for_agent()
        return self.guest.shell("cat /data/token").strip()

    def frozen(self) -> bool:
        return self.guest.writer_stands(1.2)

    def suspended(self) -> bool:
        return bool(self.guest.domain.state()[0] == 3)

    def objects(self) -> frozenset[str]:
        domain = self.guest.domain
        named = [f"checkpoint {name}" for name in self.guest.checkpoints()]
        named += [f"snapshot {found.getName()}" for found in domain.listAllSnapshots()]
        named += map(str, left_in(self.folder / "repository", self.folder / "drafts"))
        for root in (self.scratch, lab.FOLDER / "disks"):
            named += [str(path) for path in root.rglob("*") if path.is_file() and _belongs(path, self)]
        return frozenset(named)

    def plant_foreign(self, point: str, *, full: bool) -> None:
        if full:
            plant_foreign(self.settings(), point, self.instance)
        else:
            name = f"{self.guest.name}-vda.{self.instance}-{point}.qcow2"
            (lab.FOLDER / "disks" / name).write_text("theirs")

    def lose_answer(self, operation: Operation) -> None:
        self._lost.append(operation)

    def pass_time(self, seconds: float) -> None:
        import time

        time.sleep(seconds)


def _belongs(path: Path, subject: DomainSubject) -> bool:
    return "disks" not in path.parts or path.name.startswith(f"{subject.guest.name}-")


@pytest.fixture(scope="module")
def contract_guest(make_guest: Callable[[str], lab.Guest]) -> lab.Guest:  # noqa: F811
    return make_guest("contract")


@pytest.fixture
def subject(contract_guest: lab.Guest, tmp_path: Path) -> Iterator[Subject]:
    made = DomainSubject(contract_guest, tmp_path)
    made.begin()
    yield made
    made.end()


class TestDomainWithOverlays(ProviderContract):
    """Snapshots as overlays (the default) and full backups."""

    @pytest.fixture
    def subject(self, subject: Subject) -> Subject:
        return subject


class TestDomainWithInternalSnapshots(ProviderContract):
    """Snapshots inside the images, memory included."""

    @pytest.fixture
    def subject(self, contract_guest: lab.Guest, tmp_path: Path) -> Iterator[Subject]:
        made = InternalSubject(contract_guest, tmp_path, snapshot_kind="internal")
        made.operations = frozenset({Operation.SNAPSHOT, Operation.APPLY, Operation.DELETE})
        made.modes = (False,)
        made.begin()
        yield made
        made.end()


class InternalSubject(DomainSubject):
    def plant_foreign(self, point: str, *, full: bool) -> None:
        xml = f"<domainsnapshot><name>{self.instance}-{point}</name></domainsnapshot>"
        self.guest.domain.snapshotCreateXML(xml, 0)
