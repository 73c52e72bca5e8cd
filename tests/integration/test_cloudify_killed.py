"""The real ``cfy`` is killed outright: what it had frozen or stopped goes on by itself.

The judge is the file system: an operation of the lab leaves a file where something is frozen or stopped.
`QUIESCE_SIZE=nightly` kills a hundred times, and gives the guard two seconds.
"""

from __future__ import annotations

import os
import random
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from ..sshd_on_loopback import Server, needs_sshd, sshd  # noqa: TID252  shared by several tests
from .cloudify_lab.lab import Lab

NIGHTLY = os.environ.get("QUIESCE_SIZE") == "nightly"
KILLS = 100 if NIGHTLY else 4
#: how long the guard is given to thaw and start everything, in seconds; a busy machine makes nothing wrong
PATIENCE_S = 2.0 if NIGHTLY else 30.0

pytestmark = [pytest.mark.platform("cfy"), pytest.mark.timeout(3600)]

SLOW = dict.fromkeys(("fs_prepare", "create", "apply", "stop", "start"), "slow")
FREEZE = """#!/bin/sh -e
instance=$(ctx instance id)
touch "$LAB_DIR/begun"
sleep "$(cat "$LAB_DIR/pause")"
touch "$LAB_DIR/frozen-$instance"
"""
THAW = '#!/bin/sh -e\ninstance=$(ctx instance id)\nrm -f "$LAB_DIR/frozen-$instance"\n'
POOL = ("--task-thread-pool-size", "8")


@pytest.fixture
def lab(cfy_place: Path, tmp_path: Path) -> Lab:
    (tmp_path / "freeze.sh").write_text(FREEZE)
    (tmp_path / "thaw.sh").write_text(THAW)
    (tmp_path / "pause").write_text("0.1")
    return Lab(place=cfy_place, directory=tmp_path)


def tiers(**behaves: str) -> dict[str, Any]:
    """Return machines with services that a restore stops, and one that scripts freeze."""
    nodes: dict[str, Any] = {
        "scripted": {
            "type": "cloudify.nodes.SoftwareComponent",
            "relationships": [contained_in("vm0")],
            "interfaces": {
                "cloudify.interfaces.freeze": {"fs_prepare": "freeze.sh", "fs_finalize": "thaw.sh"}
            },
        }
    }
    for number in range(3):
        properties = {"properties": {"behaves": {**SLOW, **behaves}}}
        nodes[f"vm{number}"] = {"type": "lab.nodes.Machine", **properties}
        links = {"relationships": [contained_in(f"vm{number}")]}
        nodes[f"service{number}"] = {"type": "lab.nodes.Restarted", **properties, **links}
    return nodes


def contained_in(target: str) -> dict[str, str]:
    return {"type": "cloudify.relationships.contained_in", "target": target}


def left_after(lab: Lab, seconds: float) -> list[str]:
    """Return what is frozen or stopped once nothing of the lab runs any more; at the latest *seconds* later.

    Guards end when they owe nothing; a script that has outlived cfy could still freeze.
    """
    ends = time.monotonic() + seconds
    while (lab.at_rest() or lab.processes()) and time.monotonic() < ends:
        time.sleep(0.05)
    return lab.at_rest()


def test_nothing_stays_frozen_or_stopped_wherever_cfy_is_killed(lab: Lab) -> None:
    """Backups and restores are killed at random moments after their first operation began."""
    lab.init(tiers())
    lab.start("backup", "-p", "snapshot_name=base", *POOL)
    chance = random.Random(16)
    within, left = 0, {}
    for number in range(KILLS):
        workflow, name = (("backup", f"kill-{number}"), ("restore", "base"))[number % 2]
        (lab.directory / "log").unlink(missing_ok=True)
        rest = lab.kill(
            workflow, "-p", f"snapshot_name={name}", *POOL,
            once=(lab.directory / "log").exists, after_s=chance.uniform(0.0, 0.8),
        )  # fmt: skip
        within += bool(rest)
        left[number] = left_after(lab, PATIENCE_S)
    assert {number: names for number, names in left.items() if names} == {}
    assert within > KILLS // 10, "hardly any kill came while something was frozen"
    print(f"{KILLS} times killed, {within} while something was frozen or stopped, nothing left")


def test_the_old_sequence_stays_frozen_when_cfy_is_killed(lab: Lab) -> None:
    lab.init(tiers(create="wait"))
    lab.kill("old_backup", once=(lab.directory / "waiting").exists)
    (lab.directory / "interrupted").touch()
    assert left_after(lab, 2.0) != []


def test_the_next_workflow_tells_what_was_interrupted(lab: Lab) -> None:
    """Also one that changes nothing; what the backup had begun is brought to its end."""
    lab.init(tiers(create="wait"))
    lab.kill("backup", "-p", "snapshot_name=one", *POOL, once=(lab.directory / "waiting").exists)
    (lab.directory / "interrupted").touch()
    assert left_after(lab, 30.0) == []
    told = "was interrupted: what it had frozen or stopped goes on already"
    assert told in lab.start("statistics")
    assert told in lab.start("backup", "-p", "snapshot_name=two", *POOL)
    assert "was interrupted" not in lab.start("statistics")


def test_the_next_workflow_thaws_when_the_guard_was_killed_as_well(lab: Lab) -> None:
    """After a power cut, say."""
    lab.init(tiers(create="wait"))
    lab.kill("backup", "-p", "snapshot_name=one", *POOL, once=lambda: kill_guards_once_frozen(lab))
    (lab.directory / "interrupted").touch()
    assert left_after(lab, 2.0) != []
    told = lab.quiesce("backups", "list", "examples")
    assert "may STILL BE FROZEN" in told
    assert "Settle it: start any of the workflows in Cloudify" in told
    output = lab.start("statistics")
    assert "was left frozen or stopped; that is settled first" in output
    assert lab.frozen() == []


def kill_guards_once_frozen(lab: Lab) -> bool:
    if not (lab.directory / "waiting").exists():
        return False
    guards = lab.guards()
    for process in guards:
        os.kill(process, signal.SIGKILL)
    return bool(guards)


@needs_sshd
def test_what_was_frozen_over_ssh_is_thawed(lab: Lab) -> None:
    (lab.directory / "sshd").mkdir()
    with sshd(lab.directory / "sshd") as server:
        lab.init(tiers(create="wait") | {"over_ssh": frozen_over_ssh(lab, server)})
        rest = lab.kill("backup", "-p", "snapshot_name=one", *POOL, once=(lab.directory / "waiting").exists)
        (lab.directory / "interrupted").touch()
        assert "over-ssh" in rest
        assert left_after(lab, 30.0) == []


def frozen_over_ssh(lab: Lab, server: Server) -> dict[str, Any]:
    marker = lab.directory / "frozen-over-ssh"
    commands = {"freeze": [f"touch {marker}"], "thaw": [f"rm -f {marker}"]}
    return {
        "type": "quiesce.nodes.terminal.Service",
        "properties": {"terminal_auth": server.auth, **commands},
    }


def test_a_workflow_whose_thread_dies_leaves_nothing_frozen(lab: Lab) -> None:
    """The process lives on: the guard hears that nobody runs the workflow any more."""
    lab.init(tiers(create="die"))
    lab.start("backup", "-p", "snapshot_name=one", *POOL, expect=None)
    assert left_after(lab, 30.0) == []


def test_a_freezing_script_does_not_outlive_cfy(lab: Lab) -> None:
    """Its process would go on, and freeze after the thaw."""
    lab.init(tiers())
    (lab.directory / "pause").write_text("3")
    lab.kill("backup", "-p", "snapshot_name=one", *POOL, once=(lab.directory / "begun").exists)
    assert left_after(lab, 30.0) == []


def test_nor_one_that_was_given_up_while_the_others_are_thawed(lab: Lab) -> None:
    lab.init(tiers(fs_finalize="wait"))
    (lab.directory / "pause").write_text("20")
    given = "snapshot_name=one;operation_timeout=2"
    lab.kill("backup", "-p", given, *POOL, once=(lab.directory / "waiting").exists)
    (lab.directory / "interrupted").touch()
    assert left_after(lab, 30.0) == []


def uninstall(lab: Lab) -> bool:
    """Remove the deployment from the local profile, as soon as something waits."""
    if not (lab.directory / "waiting").exists():
        return False
    lab.cfy("uninstall", "-b", "examples")
    assert not list(lab.directory.glob(".cloudify/profiles/local/deployments/*"))
    return True


@pytest.mark.parametrize("killed", [False, True], ids=["cfy lives", "cfy is killed"])
def test_an_uninstall_leaves_nothing_frozen(lab: Lab, killed: bool) -> None:
    """The thaws' scripts, inputs and node instances were gone with the deployment."""
    lab.init(tiers(create="wait"), workflows={"uninstall": "lab.lab_workflows.uninstall"})
    arguments = ("backup", "-p", "snapshot_name=one", *POOL)
    if killed:
        rest = lab.kill(*arguments, once=lambda: uninstall(lab))
        assert any(name.startswith("scripted") for name in rest)
        assert len(rest) == len(tiers())
        (lab.directory / "interrupted").touch()
    else:
        with ThreadPoolExecutor() as pool:
            backup = pool.submit(lab.start, *arguments, expect=None)
            try:
                while not uninstall(lab):
                    assert not backup.done(), backup.result()
                assert len(lab.frozen()) == len(tiers())
            finally:
                (lab.directory / "interrupted").touch()
            assert "NOT THAWED" not in backup.result()
    assert left_after(lab, 30.0) == []


@needs_sshd
def test_what_an_uninstall_cannot_reach_is_thawed_over_ssh(lab: Lab) -> None:
    """By our own operation, when cfy was killed after the deployment was removed."""
    (lab.directory / "sshd").mkdir()
    with sshd(lab.directory / "sshd") as server:
        nodes = tiers(create="wait") | {"over_ssh": frozen_over_ssh(lab, server)}
        lab.init(nodes, workflows={"uninstall": "lab.lab_workflows.uninstall"})
        rest = lab.kill("backup", "-p", "snapshot_name=one", *POOL, once=lambda: uninstall(lab))
        (lab.directory / "interrupted").touch()
        assert "over-ssh" in rest
        assert left_after(lab, 30.0) == []


def test_an_instance_that_was_half_written_is_put_back(lab: Lab) -> None:
    """cfy writes over the file; killed within, it could not load the deployment any more, nor the guard."""
    lab.init(tiers(create="wait"))

    def half_written() -> bool:
        if not (lab.directory / "waiting").exists():
            return False
        for path in lab.directory.glob(".cloudify/profiles/local/deployments/examples/node-instances/*.json"):
            path.write_bytes(path.read_bytes()[:20])
        return True

    lab.kill("backup", "-p", "snapshot_name=one", *POOL, once=half_written)
    (lab.directory / "interrupted").touch()
    assert left_after(lab, 30.0) == []
    assert "succeeded" in lab.start("backup", "-p", "snapshot_name=two", *POOL, expect=None)
