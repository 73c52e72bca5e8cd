"""What goes wrong on a real OpenStack: a clear error or a finished backup, thawed, and nothing left over."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("openstack", reason="needs the Python package openstacksdk (quiesce[openstack])")
sys.path.insert(0, str(Path(__file__).parents[1] / "labs" / "openstack"))

from cli import CommandLine, server_node, volume_node
from lab import Lab, until
from lab_fixtures import NEEDS_LAB, empty_lab

pytestmark = NEEDS_LAB

lab = pytest.fixture(scope="module")(empty_lab)

FULL = ["-p", "snapshot_name=monday", "-p", "snapshot_incremental=false"]


@pytest.fixture
def shop(tmp_path: Path) -> CommandLine:
    return CommandLine(tmp_path)


@pytest.fixture(scope="module")
def web(lab: Lab) -> str:
    return lab.boot("web")


@pytest.fixture(scope="module")
def volume(lab: Lab) -> str:
    return lab.volume("data")


@contextmanager
def meanwhile(action: Callable[[], None]) -> Iterator[None]:
    """Do *action* beside what is in the block."""
    thread = threading.Thread(target=action)
    thread.start()
    yield
    thread.join()


def images_of(lab: Lab, name: str) -> list[Any]:
    images = lab.cloud.image.images(owner=lab.cloud.current_project_id)
    return [image for image in images if image.name.startswith(name)]


def rest(lab: Lab, server: str) -> None:
    """Wait until Nova has nothing under way on a server."""
    until(lambda: lab.cloud.compute.get_server(server).task_state is None, 120)


def test_an_image_that_vanishes_while_queued_is_made_again_or_missed_aloud(
    lab: Lab, web: str, shop: CommandLine
) -> None:
    shop.init({"web": server_node(web)})
    before = lab.objects()

    def vanish() -> None:
        until(lambda: bool(images_of(lab, "server-")))
        lab.cloud.image.delete_image(images_of(lab, "server-")[0].id)

    with meanwhile(vanish):
        shop.on("backup", *FULL, "--task-retries", "5", "--task-retry-interval", "3")
    assert [image.status for image in images_of(lab, "server-")] == ["active"]
    shop.on("remove-backup", *FULL)
    rest(lab, web)
    assert lab.objects() == before


def test_a_server_deleted_in_the_middle_is_named_and_leaves_nothing(lab: Lab, shop: CommandLine) -> None:
    server = lab.boot("doomed")
    shop.init({"doomed": server_node(server)})
    others = {found for found in lab.objects() if server not in found}

    def doom() -> None:
        until(lambda: bool(images_of(lab, f"server-{server}")))
        lab.cloud.compute.delete_server(server)

    with meanwhile(doom):
        answer = shop.on("backup", *FULL, status=6)
    assert server in answer
    until(lambda: not any(server in found for found in lab.objects()), 60)
    assert lab.objects() == others


@pytest.fixture
def full_quota(lab: Lab) -> Iterator[None]:
    """The project may have no snapshot at all."""
    admin = Lab(lab.directory, "admin")
    project = lab.cloud.current_project_id
    admin.cloud.set_volume_quotas(project, snapshots=0)
    yield
    admin.cloud.set_volume_quotas(project, snapshots=10)


@pytest.mark.brief
@pytest.mark.usefixtures("full_quota")
def test_a_full_quota_is_said_once_and_what_was_made_elsewhere_is_removed(
    lab: Lab, web: str, volume: str, shop: CommandLine
) -> None:
    shop.init({"web": server_node(web), "data": volume_node(volume)})
    before = lab.objects()
    answer = shop.on("backup", *FULL, status=6)
    assert "quota" in answer.lower()
    rest(lab, web)
    assert lab.objects() == before


@pytest.mark.parametrize("how", ["stop", pytest.param("kill", marks=pytest.mark.brief)])
def test_cinders_backup_service_may_restart_in_the_middle(
    lab: Lab, volume: str, shop: CommandLine, how: str
) -> None:
    shop.init({"data": volume_node(volume)})
    before = lab.objects()
    lab.scribble(volume, 1)
    digest = lab.digest(volume)

    def restart() -> None:
        until(lambda: any(b.status == "creating" for b in lab.cloud.block_storage.backups()))
        lab.service(how, "cinder-backup")
        time.sleep(3)
        lab.service("start", "cinder-backup")

    with meanwhile(restart):
        shop.on("backup", *FULL, "--task-retries", "10", "--task-retry-interval", "3")
    lab.scribble(volume, 2)
    shop.on("restore", *FULL)
    assert lab.digest(volume) == digest
    shop.on("remove-backup", *FULL)
    assert lab.objects() == before


def test_nova_compute_may_restart_in_the_middle(lab: Lab, web: str, shop: CommandLine) -> None:
    """Nova forgets the image: that is said, or the window's bound is reached; nothing is left."""
    shop.init({"web": server_node(web)})
    before = lab.objects()

    def restart() -> None:
        until(lambda: bool(images_of(lab, "server-")))
        lab.service("kill", "nova-compute")
        time.sleep(3)
        lab.service("start", "nova-compute")

    with meanwhile(restart):
        ended = shop.attempt("backup", "-p", "snapshot_name=monday")
    if ended.status == 0:
        shop.on("remove-backup", "-p", "snapshot_name=monday")
    else:
        assert "'backup' workflow execution failed: " in ended.text
    rest(lab, web)
    assert lab.objects() == before


def test_glance_may_restart_in_the_middle(lab: Lab, web: str, shop: CommandLine) -> None:
    shop.init({"web": server_node(web)})
    before = lab.objects()

    def restart() -> None:
        until(lambda: bool(images_of(lab, "server-")))
        lab.service("kill", "glance")
        time.sleep(3)
        lab.service("start", "glance")

    with meanwhile(restart):
        ended = shop.attempt("backup", *FULL)
    if ended.status == 0:
        shop.on("remove-backup", *FULL)
    rest(lab, web)
    assert lab.objects() == before


def test_a_token_that_ends_in_the_middle_is_renewed(lab: Lab, volume: str) -> None:
    from lab import client_config

    from quiesce.providers.openstack.client import Service, SessionClient
    from quiesce.providers.openstack.credentials import read_credentials

    client = SessionClient(read_credentials(client_config()))
    client.request(Service.VOLUME, "GET", f"/volumes/{volume}")
    token = client._session.get_token()
    lab.cloud.identity.delete("/auth/tokens", headers={"X-Subject-Token": token})
    client.request(Service.COMPUTE, "GET", "/servers")  # Cinder may remember the token; Nova must ask
    assert client._session.get_token() != token
    client.close()
