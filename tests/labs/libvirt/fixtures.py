"""Fixtures that bring the lab up for a test module, or skip it by name. Import them by name."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from tests.repository_objects import opened

from quiesce.backups import BackupHome, BackupKey, Backups
from quiesce.model.capabilities import Capabilities
from quiesce.model.ids import BackupName, DeploymentName, ExecutionId, InstanceId
from quiesce.model.operation import Operation
from quiesce.model.outcome import Outcome
from quiesce.model.restore_point import Proof
from quiesce.ports import ProviderSettings
from quiesce.repository import PointKey
from quiesce.testing import RecordingContext, Subject

from . import lab

pytestmark = pytest.mark.platform("libvirt")


@pytest.fixture(scope="session")
def libvirt_lab() -> Iterator[str]:
    """The lab's connection URI."""
    if reason := lab.missing():
        pytest.skip(f"libvirt: {reason}")
    was_up = lab.is_up()
    yield lab.up()
    if not was_up:
        lab.down()


@pytest.fixture(scope="module")
def make_guest(libvirt_lab: str) -> Iterator[Callable[[str], lab.Guest]]:
    """Makes guests, which are gone when the module's tests are over."""
    made: list[lab.Guest] = []

    def make(name: str) -> lab.Guest:
        guest = lab.Guest(name, uri=libvirt_lab)
        made.append(guest)
        return guest

    yield make
    for guest in made:
        guest.forget()


class CommandLine:
    """``quiesce`` as users call it, with a home and a blueprint of its own."""

    def __init__(self, home: Path, blueprint: Mapping[str, Any]) -> None:
        self.home = home
        path = home / "blueprint.yaml"
        path.write_text(json.dumps(blueprint))
        self.run("init", str(path), "-b", "shop")

    def run(self, *arguments: str) -> str:
        """Return what a command prints; it must succeed."""
        done = subprocess.run(
            self._command(arguments), env=self._environment(), capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """Start a command."""
        return subprocess.Popen(
            self._command(arguments),
            env=self._environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )

    def stored(self) -> list[PointKey]:
        """Return the points in the repository."""
        if not (self.home / "repository").exists():
            return []
        with opened(self.home, self.home / "repository") as repository:
            return sorted(point.key for point in repository.points())

    def of_instances(self) -> list[PointKey]:
        """Return those of the points that belong to an instance."""
        return [key for key in self.stored() if key.instance]

    @staticmethod
    def _command(arguments: Sequence[str]) -> list[str]:
        return [sys.executable, "-m", "quiesce.cli.main", *arguments]

    def _environment(self) -> dict[str, str]:
        return os.environ | {"QUIESCE_HOME": str(self.home)}


class Bench(Subject):
    """One guest, and the provider under test on it."""

    provider_name = "libvirt"
    node_type = "quiesce.nodes.libvirt.Domain"

    def __init__(self, guest: lab.Guest, folder: Path, **properties: Any) -> None:
        from quiesce.providers.libvirt import DOMAIN

        self.capabilities: Capabilities = DOMAIN.capabilities
        self.guest = guest
        self.folder = folder
        self.repository = folder / "repository"
        self.scratch = lab.FOLDER / "scratch" / guest.name
        shutil.rmtree(self.scratch, ignore_errors=True)
        self.scratch.mkdir(parents=True)
        self.instance = f"{guest.name}_ab12cd"
        self.properties = {
            "libvirt_auth": guest.uri,
            "resource_id": guest.name,
            "scratch_dir": str(self.scratch),
            **properties,
        }
        self._provider: Any = None

    def provider(self) -> Any:
        from quiesce.providers.libvirt.provider import LibvirtProvider

        return LibvirtProvider(self.settings())

    def settings(self) -> ProviderSettings:
        return ProviderSettings(
            state_dir=str(self.folder / "state"),
            repository=str(self.repository),
            keys_file=str(self.folder / "keys"),
        )

    def do(
        self, operation: Operation, point: str = "one", *, timeout_s: float = 60.0, **changes: Any
    ) -> Outcome:
        """Perform one operation; each restore point has an execution of its own."""
        if self._provider is None:
            self._provider = self.provider()
        fields = {"point": BackupName(point), "execution": ExecutionId(f"exec-{point}")} | changes
        call = self.call(operation, **fields)
        return self._provider.perform(call, RecordingContext(timeout_s=timeout_s))  # type: ignore[no-any-return]

    def backup(self, point: str = "one", *, freeze: bool = True, **changes: Any) -> Outcome:
        """Make a full copy as the engine does: freeze, cut, thaw, copy."""
        if freeze:
            self.do(Operation.FREEZE, point)
        try:
            cut = self.do(Operation.SNAPSHOT, point, full=True, **changes)
        finally:
            if freeze:
                self.do(Operation.THAW, point)
        return self.do(Operation.COPY, point, full=True, artifact=cut.artifact, **changes)

    def restore(self, point: str = "one", **changes: Any) -> Outcome:
        """Put a full copy back."""
        return self.do(Operation.APPLY, point, full=True, **changes)

    def remove(self, point: str = "one", **changes: Any) -> Outcome:
        """Remove a full copy."""
        return self.do(Operation.DELETE, point, full=True, **changes)

    def verify(self, point: str) -> Proof:
        """Check a full copy."""
        call = self.call(Operation.DELETE, full=True, point=BackupName(point))
        proof: Proof = self.provider().verify(call, RecordingContext())
        return proof

    def use(self, provider: Any) -> None:
        """Work through a provider that others use, too."""
        self._provider = provider

    def home(self) -> BackupHome:
        """Return what opens the repository."""
        return BackupHome.of(self.settings())

    def disk(self, point: str = "one", target: str = "vda") -> Path:
        """Return a stored disk as a raw image."""
        place = BackupKey(
            deployment=DeploymentName("contract"), point=BackupName(point), instance=InstanceId(self.instance)
        )
        backups, path = Backups(str(self.repository), self.home()), self.folder / f"{point}-{target}.raw"
        manifest = backups.manifest(place)
        with backups.reader(manifest) as reader, path.open("w+b") as out:
            reader.restore_disk(target, out.fileno(), is_zero=True)
            out.truncate(manifest.item(target).size_bytes)
        return path

    def check(self, point: str = "one") -> lab.LogCheck:
        """Read the writer's log out of a stored disk."""
        return lab.check_log(self.disk(point), image_format="raw")

    def leftovers(self) -> list[str]:
        """Return what a job leaves that is not cleared away: scratch files and sockets."""
        return sorted(path.name for path in self.scratch.iterdir())
