"""quiesce is killed in the middle of a backup of a real guest: nothing stays frozen, nothing is left."""

from __future__ import annotations

import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ..labs.libvirt import lab  # noqa: TID252  shared by several test modules
from ..labs.libvirt.fixtures import CommandLine, libvirt_lab, make_guest  # noqa: F401, TID252

pytestmark = [pytest.mark.platform("libvirt"), pytest.mark.timeout(600)]

FULL = ("-p", "snapshot_incremental=false")
BLUEPRINT: dict[str, Any] = {
    "tosca_definitions_version": "cloudify_dsl_1_3",
    "imports": ["cloudify/types/types.yaml", "plugin:quiesce"],
}


class Quiesce(CommandLine):
    """One guest's deployment."""

    def __init__(self, home: Path, guest: lab.Guest) -> None:
        self.scratch = lab.FOLDER / "scratch" / f"{guest.name}-cli"
        shutil.rmtree(self.scratch, ignore_errors=True)
        self.scratch.mkdir(parents=True)
        properties = {"libvirt_auth": guest.uri, "resource_id": guest.name, "scratch_dir": str(self.scratch)}
        properties["backup_mode"] = "incremental"
        node = {"type": "quiesce.nodes.libvirt.Domain", "properties": properties}
        super().__init__(home, BLUEPRINT | {"node_templates": {"vm": node}})

    def instance(self) -> str:
        return self.of_instances()[0].instance


@pytest.fixture(scope="module")
def killed(make_guest: Callable[[str], lab.Guest]) -> lab.Guest:  # noqa: F811
    guest = make_guest("killed")
    guest.boot(base=lab.make_disk("1024", 1024, 512, 7))
    guest.wait_for_writer(5)
    return guest


@pytest.mark.parametrize("moment", ["freeze", "cut", "copy"])
def test_killed_at_any_moment_it_leaves_a_thawed_guest_and_nothing_else(
    killed: lab.Guest, tmp_path: Path, moment: str
) -> None:
    quiesce = Quiesce(tmp_path, killed)
    with quiesce.start("backup", "shop", *FULL, "-p", "snapshot_name=one") as running:
        _wait_for(moment, running, quiesce)
        running.send_signal(signal.SIGKILL)
        died = time.monotonic()
    lab.wait(lambda: not killed.frozen(), 30.0)
    print(f"killed at its {moment}: the guest is thawed after {time.monotonic() - died:.2f} s")
    killed.wait_for_writer(3)
    assert "may STILL BE FROZEN" not in quiesce.run("recover")
    quiesce.run("backup", "shop", *FULL, "-p", "snapshot_name=two")
    made = {"two"} if moment == "freeze" else {"one", "two"}  # what was cut when it died is finished
    assert not killed.job_runs()
    assert killed.checkpoints() == sorted(f"{quiesce.instance()}-{point}" for point in made)
    assert list(quiesce.scratch.iterdir()) == []
    assert {key.point for key in quiesce.of_instances()} == made
    for point in made:
        assert "good" in quiesce.run("backups", "verify", "shop", point)
        quiesce.run("remove-backup", "shop", *FULL, "-p", f"snapshot_name={point}")
    assert quiesce.stored() == []
    assert killed.checkpoints() == []


def _wait_for(moment: str, running: subprocess.Popen[str], quiesce: Quiesce) -> None:
    """Return in the middle of the freezing, the cutting or the copying."""
    wanted = {
        "freeze": "Done cloudify.interfaces.freeze.fs_prepare",
        "cut": "Done cloudify.interfaces.snapshot.create",
        "copy": "Done cloudify.interfaces.freeze.fs_finalize",
    }[moment]
    assert running.stdout is not None
    for line in running.stdout:
        if wanted in line:
            break
    else:
        pytest.fail(f"the backup ended before its {moment}")
    if moment == "copy":
        lab.wait(lambda: any((quiesce.home / "drafts").glob("*/draft.json")))
        time.sleep(0.1)


@pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")
@pytest.mark.parametrize(("call", "time"), [("link", 1), ("link", 2), ("linkat", 1)])
def test_a_restore_that_is_killed_while_files_get_their_names_is_finished_by_the_next(
    make_guest: Callable[[str], lab.Guest],  # noqa: F811
    tmp_path: Path,
    call: str,
    time: int,
) -> None:
    """It is tried whether files can have two names, then one gets its second, the new disk its own."""
    guest = make_guest("named")
    guest.boot()
    first = guest.disk()
    before = _files_of(guest)
    quiesce = Quiesce(tmp_path, guest)
    snapshot, full = ("-p", "snapshot_incremental=true"), FULL
    one, two = ("-p", "snapshot_name=one"), ("-p", "snapshot_name=two")
    only = ("-p", "safety_snapshot=false")
    guest.shell("echo saved >/data/token; sync")
    quiesce.run("backup", "shop", *full, *one)
    guest.shell("echo later >/data/token; sync")
    quiesce.run("backup", "shop", *snapshot, *two)
    inject = f"inject={call}:signal=KILL:when={time}"
    command = ["strace", "-f", "-qq", "-o", "/dev/null", "-e", f"trace={call}", "-e", inject]
    command += quiesce._command(("restore", "shop", *full, *one, *only))
    died = subprocess.run(command, env=quiesce._environment(), capture_output=True, check=False)
    assert died.returncode != 0
    quiesce.run("recover")
    guest.wait_for_agent()
    assert guest.shell("cat /data/token").strip() == "later"
    quiesce.run("restore", "shop", *full, *one, *only)
    guest.wait_for_agent()
    assert guest.shell("cat /data/token").strip() == "saved"
    assert f"'{first}'" in guest.domain.XMLDesc(0)
    quiesce.run("restore", "shop", *snapshot, *two, *only)
    guest.wait_for_agent()
    assert guest.shell("cat /data/token").strip() == "later"
    quiesce.run("remove-backup", "shop", *snapshot, *two)
    assert _files_of(guest) == before
    assert guest.shell("cat /data/token").strip() == "later"
    guest.forget()


def _files_of(guest: lab.Guest) -> set[str]:
    return {
        path.name for path in guest.disk().parent.iterdir() if path.name.lstrip(".").startswith(guest.name)
    }
