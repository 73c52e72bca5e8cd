"""Every workflow on the lab's real services and on the cloud in memory: the same calls, artifacts, events."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("openstack", reason="needs the Python package openstacksdk (quiesce[openstack])")
sys.path.insert(0, str(Path(__file__).parents[1] / "labs" / "openstack"))
sys.path.insert(0, str(Path(__file__).parents[1] / "unit" / "openstack"))

from fake_openstack import FakeClient, FakeOpenStack
from lab import Lab, client_config
from lab_fixtures import NEEDS_LAB, empty_lab
from tests.two_worlds import Comparison, Reason, World

from quiesce.model.ids import Json
from quiesce.provider_kit.listing import Pace
from quiesce.providers.openstack.client import Client, Service, SessionClient
from quiesce.providers.openstack.credentials import Credentials
from quiesce.providers.openstack.provider import OpenStackProvider

pytestmark = [*NEEDS_LAB, pytest.mark.brief]

lab = pytest.fixture(scope="module")(empty_lab)

QUICK = Pace(gather_s=0.0005, least_s=0.0005, most_s=0.002)
DIAGNOSTICS = Reason(
    r"no diagnostics: (GET compute/servers/SERVER/diagnostics|fake): "
    r"Policy doesn't allow \S+ to be performed\. \(HTTP 403\)$",
    "the client in memory says 'fake' in the text of an error where the real one names its request",
)


class Listening:
    """A client whose requests are noted."""

    def __init__(self, inner: Client, note: Callable[[bool, str], None]) -> None:
        self._inner = inner
        self._note = note

    def request(
        self,
        service: Service,
        method: str,
        path: str,
        *,
        body: Json = None,
        query: Mapping[str, str] | None = None,
        microversion: str | None = None,
    ) -> dict[str, Any]:
        asked = f"{service.value} {method} {path} {json.dumps(body, sort_keys=True) if body else ''}".strip()
        self._note(method != "GET", asked)
        return self._inner.request(service, method, path, body=body, query=query, microversion=microversion)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)


class Cloud:
    """One of the two worlds, and how to begin it."""

    def __init__(
        self,
        home: Path,
        connect: Callable[[Credentials], Client],
        type_: str,
        resource_id: str,
        names: Mapping[str, str],
        pace: Pace | None = None,
    ) -> None:
        home.mkdir()
        provider = OpenStackProvider(
            connect=lambda credentials: Listening(connect(credentials), self._note), pace=pace
        )
        kind = ("cloudify.nodes.Root", f"cloudify.nodes.openstack.{type_}")
        properties: dict[str, Json] = {"resource_id": resource_id, "client_config": client_config()}
        self.world = World(home, provider, kind, properties, names)

    def _note(self, changing: bool, text: str) -> None:
        self.world.asked.append((changing, text))


def _compare(
    real: World, stand_in: World, workflows: list[tuple[str, dict[str, Json]]], *reasons: Reason
) -> None:
    comparison = Comparison(reasons)
    for workflow, parameters in workflows:
        title = f"{workflow} {parameters}"
        comparison.of(title, real.run(workflow, **parameters), stand_in.run(workflow, **parameters))
    for world in (real, stand_in):
        world.close()
    comparison.finish()


def _all_of(point: str, *, incremental: bool) -> list[tuple[str, dict[str, Json]]]:
    name: dict[str, Json] = {"snapshot_name": point}
    kind: dict[str, Json] = {"snapshot_incremental": incremental}
    return [
        ("backup", name | kind),
        ("restore", name | kind | {"safety_snapshot": False}),
        ("remove_backup", name | kind),
    ]


def test_a_server_with_a_volume(lab: Lab, tmp_path: Path) -> None:
    server = lab.boot("web")
    lab.attach(server, lab.volume("web-0"))
    (volume,) = lab.volumes_of(server)
    fake = FakeOpenStack()
    theirs = fake.boot(volumes=1, agent=True)
    (data,) = fake.attached(theirs)
    real = Cloud(tmp_path / "real", SessionClient, "Server", server, {server: "SERVER", volume: "VOLUME"})
    stand_in = Cloud(
        tmp_path / "stand-in",
        lambda _: FakeClient(fake),
        "Server",
        theirs,
        {theirs: "SERVER", data: "VOLUME"},
        QUICK,
    )
    workflows = [("statistics", {}), ("suspend", {}), ("resume", {})]
    workflows += _all_of("monday", incremental=True) + _all_of("tuesday", incremental=False)
    _compare(real.world, stand_in.world, workflows, DIAGNOSTICS)


def test_a_volume(lab: Lab, tmp_path: Path) -> None:
    volume = lab.volume("alone")
    fake = FakeOpenStack()
    data = fake.volume(name="alone")
    real = Cloud(tmp_path / "real", SessionClient, "Volume", volume, {volume: "VOLUME"})
    stand_in = Cloud(
        tmp_path / "stand-in", lambda _: FakeClient(fake), "Volume", data, {data: "VOLUME"}, QUICK
    )
    workflows = [("statistics", {})]
    workflows += _all_of("monday", incremental=True) + _all_of("tuesday", incremental=False)
    _compare(real.world, stand_in.world, workflows)
