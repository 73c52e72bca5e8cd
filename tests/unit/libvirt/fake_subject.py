"""One machine of a made-up machine room, and the provider under test on it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tests.forgetful import forgetful
from tests.repository_objects import plant_foreign, points

from quiesce.backups import BackupHome
from quiesce.model.operation import Operation
from quiesce.ports import ProviderSettings
from quiesce.providers.libvirt import DOMAIN
from quiesce.providers.libvirt.provider import LibvirtProvider
from quiesce.testing import Subject

from .fake_hypervisor import FakeHypervisor, World, read_image, token_of, write_image


class FakeSubject(Subject):
    """One machine of a made-up machine room."""

    provider_name = "libvirt"
    capabilities = DOMAIN.capabilities
    node_type = "quiesce.nodes.libvirt.Domain"

    def __init__(
        self,
        folder: Path,
        monkeypatch: pytest.MonkeyPatch,
        more_disks: tuple[str, ...] = (),
        **properties: Any,
    ) -> None:
        self.folder = folder
        for name in ("disks", "scratch"):
            (folder / name).mkdir()
        self.world = World(folder / "disks", monkeypatch)
        self.machine = self.world.add("vm", more=more_disks)
        self.lost: list[Operation] = []
        self.properties = {
            "libvirt_auth": "fake:///",
            "resource_id": "vm",
            "scratch_dir": str(folder / "scratch"),
            **properties,
        }

    @property
    def settings(self) -> ProviderSettings:
        """Those of a provider that keeps everything in the folder."""
        return ProviderSettings(
            state_dir="", repository=str(self.folder / "repository"), keys_file=str(self.folder / "keys")
        )

    def home(self) -> BackupHome:
        return BackupHome.of(self.settings)

    def provider(self) -> Any:
        provider = LibvirtProvider(self.settings, lambda _: FakeHypervisor(self.world))
        return forgetful(provider, self.lost)

    def write(self, token: str) -> None:
        path = Path(self.machine.disk)
        write_image(path, token, read_image(path)["backing"])

    def read(self) -> str:
        return token_of(Path(self.machine.disk))

    def frozen(self) -> bool:
        self.world.run_timers()
        return self.machine.frozen

    def suspended(self) -> bool:
        return self.machine.state == "paused"

    def objects(self) -> frozenset[str]:
        repository = self.folder / "repository"
        files = [
            str(path)
            for path in self.folder.rglob("*")
            if path.is_file() and path.name != "keys" and not path.is_relative_to(repository)
        ]
        files += map(str, points(repository))
        return frozenset([*files, *self.machine.snapshots, *self.machine.checkpoints])

    def plant_foreign(self, point: str, *, full: bool) -> None:
        if full:
            plant_foreign(self.settings, point, self.instance)
        elif self.properties.get("snapshot_kind") == "internal":
            self.machine.snapshots[f"{self.instance}-{point}"] = ("<domainsnapshot/>", "theirs")
        else:
            (self.folder / "disks" / f"vm-vda.{self.instance}-{point}.qcow2").write_text("theirs")

    def lose_answer(self, operation: Operation) -> None:
        self.lost.append(operation)

    def pass_time(self, seconds: float) -> None:
        self.world.now += seconds
