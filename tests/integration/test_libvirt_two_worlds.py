"""Every workflow on the lab's libvirt and QEMU and on the hypervisor in memory: the same calls and events."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("libvirt", reason="libvirt-python is not installed (quiesce[libvirt])")

from tests.two_worlds import Comparison, Reason, Seen, World

from quiesce.backups import KEYS_FILE
from quiesce.model.ids import Json
from quiesce.ports import ProviderSettings
from quiesce.providers.libvirt.client import Hypervisor
from quiesce.providers.libvirt.provider import LibvirtProvider

from ..labs.libvirt import lab  # noqa: TID252  shared by several test modules
from ..labs.libvirt.fixtures import libvirt_lab, make_guest  # noqa: F401, TID252
from ..unit.libvirt.fake_hypervisor import FakeHypervisor  # noqa: TID252
from ..unit.libvirt.fake_hypervisor import World as FakeWorld  # noqa: TID252

pytestmark = [pytest.mark.platform("libvirt"), pytest.mark.timeout(900)]

READING = frozenset(
    [
        "state",
        "why_off",
        "is_persistent",
        "autostart",
        "xml",
        "metadata",
        "has_managed_save",
        "snapshots",
        "backup_xml",
        "job",
        "checkpoints",
        "block_job",
        "block_sizes",
        "is_alive",
        "domain",
        "domains",
        "network",
        "networks",
        "pool",
        "pools",
        "volume",
        "statistics",
        "close",
    ]
)
ASKING = frozenset({"guest-ping", "guest-info", "guest-fsfreeze-status", "guest-exec-status"})
#: what a call is given that is the platform's own text, and not what we wrote
THEIRS = frozenset({"define_domain", "set_metadata"})
KIND = ("cloudify.nodes.Root", "quiesce.nodes.libvirt.Domain")
WORKFLOWS: list[tuple[str, dict[str, Json]]] = [
    ("statistics", {}),
    ("suspend", {}),
    ("resume", {}),
    *(
        (workflow, {"snapshot_name": point, "snapshot_incremental": incremental, **more})
        for point, incremental in (("monday", True), ("tuesday", False))
        for workflow, more in (("backup", {}), ("restore", {"safety_snapshot": False}), ("remove_backup", {}))
    ),
]
BOOTING = (
    Reason(
        r"restore .*(xml\(live=True\)|agent\(guest-fsfreeze-status\))$",
        "a real guest boots after its restore, and its agent is not there yet when the thaw asks",
    ),
    Reason(
        r"restore .*event on the .* only: thaw: done( no agent answers, .*)?$",
        "the agent in memory answers at once, and so the thaw needs not look for another sign",
    ),
)


class Listening:
    """A hypervisor, or a domain of it, whose calls are noted."""

    def __init__(self, inner: Any, note: Callable[[bool, str], None]) -> None:
        self._inner = inner
        self._note = note

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._inner, name)
        if not callable(value):
            return value

        def call(*args: Any, **options: Any) -> Any:
            asks = name == "agent" and args[0] in ASKING
            shown = [] if name in THEIRS else [*map(str, args[: 1 if name == "agent" else None])]
            shown += [f"{key}={option}" for key, option in sorted(options.items()) if key != "limit_s"]
            self._note(name not in READING and not asks, f"{name}({', '.join(shown)})")
            return self._listened(value(*args, **options))

        return call

    def _listened(self, found: Any) -> Any:
        if isinstance(found, list):
            return [self._listened(one) for one in found]
        return Listening(found, self._note) if type(found).__name__ in ("Domain", "FakeDomain") else found


def _run(
    home: Path, connect: Callable[[str], Any], properties: dict[str, Json], names: dict[str, str]
) -> list[Seen]:
    """Run every workflow on one world."""
    home.mkdir()
    settings = ProviderSettings(
        state_dir="", repository=str(home / "repository"), keys_file=str(home / KEYS_FILE)
    )
    asked: list[tuple[bool, str]] = []
    provider = LibvirtProvider(
        settings, lambda uri: Listening(connect(uri), lambda changing, text: asked.append((changing, text)))
    )
    world = World(home, provider, KIND, properties, {str(home): "HOME"} | names)
    world.asked = asked
    try:
        return [world.run(workflow, **parameters) for workflow, parameters in WORKFLOWS]
    finally:
        world.close()
        provider.close()


def test_a_domain(
    make_guest: Callable[[str], lab.Guest],  # noqa: F811
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    guest = make_guest("worlds")
    guest.boot()
    guest.wait_for_agent()
    scratch = tmp_path / "scratch"
    scratch.mkdir(mode=0o777)
    common: dict[str, Json] = {"resource_id": guest.name, "scratch_dir": str(scratch)}
    disk = guest.disk()
    real = _run(
        tmp_path / "real",
        Hypervisor,
        {"libvirt_auth": guest.uri, **common},
        {str(disk): "DISK", str(disk.parent): "DISKS", str(scratch): "SCRATCH"},
    )
    (tmp_path / "disks").mkdir()
    fake = FakeWorld(tmp_path / "disks", monkeypatch)
    machine = fake.add(guest.name)
    stand_in = _run(
        tmp_path / "stand-in",
        lambda _: FakeHypervisor(fake),
        {"libvirt_auth": "fake:///", **common},
        {machine.disk: "DISK", str(tmp_path / "disks"): "DISKS", str(scratch): "SCRATCH"},
    )
    fake.close()
    comparison = Comparison(BOOTING)
    for (workflow, parameters), one, other in zip(WORKFLOWS, real, stand_in, strict=True):
        comparison.of(f"{workflow} {parameters}", one, other)
    comparison.finish()


def test_nothing_that_changes_something_is_taken_for_reading() -> None:
    changing = {name for name in vars(Hypervisor) if re.match(r"define|set|create|remove", name)}
    assert not changing & READING
