"""A restore into another deployment holds the one that it reads, and says what cannot go there."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from quiesce.errors import ExitStatus

from .shop import CommandLine, eventually
from .test_rebuilding import FULL

#: a directory with a service whose stop or start waits for a file ``go``, and its freeze while there is
#: ``slow``
SERVED = """\
tosca_definitions_version: cloudify_dsl_1_3
imports: [cloudify/types/types.yaml, plugin:quiesce]
inputs: {data: {type: string}, wait: {type: string}}
node_templates:
  files:
    type: quiesce.nodes.host.Directory
    properties: {path: {get_input: data}}
  service:
    type: cloudify.nodes.SoftwareComponent
    interfaces:
      cloudify.interfaces.freeze: {fs_prepare: freeze.sh, fs_finalize: thaw.sh}
      quiesce.interfaces.restore:
        stop: {implementation: turn.sh, inputs: {wait: {get_input: wait}}}
        start: {implementation: turn.sh, inputs: {wait: {get_input: wait}}}
    relationships: [{type: cloudify.relationships.connected_to, target: files}]
"""
SCRIPTS = {
    "turn.sh": '[ "$wait" != "$QUIESCE_OPERATION" ] || touch waiting\n'
    '[ "$wait" != "$QUIESCE_OPERATION" ] || while [ ! -e go ]; do sleep 0.05; done\n',
    "freeze.sh": "touch frozen-$(ctx deployment id)\nwhile [ -e slow ]; do sleep 0.05; done\n",
    "thaw.sh": "rm -f frozen-$(ctx deployment id)\n",
    "dump.sh": "touch $QUIESCE_OPERATION\n",
}


def made(quiesce: CommandLine, name: str, text: str, *, wait: str = "") -> Path:
    """Make a deployment whose directory holds *text*."""
    data = quiesce.directory / name
    data.mkdir()
    (data / "file").write_text(text)
    quiesce("init", "served.yaml", "-b", name, "-i", f"data={data}", "-i", f"wait={wait}")
    return data


@pytest.fixture
def saved(quiesce: CommandLine) -> Path:
    """The directory of the deployment ``shop``, saved as ``one``."""
    (quiesce.directory / "served.yaml").write_text(SERVED)
    for name, script in SCRIPTS.items():
        (quiesce.directory / name).write_text(f"#!/bin/sh\n{script}")
    data = made(quiesce, "shop", "saved")
    quiesce("backup", "shop", "-p", "snapshot_name=one", *FULL)
    return data


@pytest.fixture
def restoring(quiesce: CommandLine, saved: Path) -> Iterator[subprocess.Popen[str]]:
    """A restore of shop's ``one`` into ``staging`` that is in the middle of it."""
    made(quiesce, "staging", "staging", wait="stop")
    process = quiesce.start("restore", "shop", "--to", "staging", "-p", "snapshot_name=one")
    eventually(
        lambda: (quiesce.directory / "waiting").exists() or process.poll() is not None, "it has begun to stop"
    )
    assert process.poll() is None, process.communicate()
    yield process
    (quiesce.directory / "go").touch()
    process.communicate()


@pytest.mark.parametrize(
    "command",
    [
        ("remove-backup", "shop", "-p", "snapshot_name=one"),
        ("backup", "shop", "-p", "snapshot_name=two"),
    ],
    ids=lambda command: command[0],
)
def test_nothing_else_runs_on_what_is_read(
    quiesce: CommandLine, restoring: subprocess.Popen[str], command: tuple[str, ...]
) -> None:
    said = quiesce(*command, status=ExitStatus.REFUSED).err
    assert "execution restore-" in said
    assert "runs on shop" in said
    (quiesce.directory / "go").touch()
    out, err = restoring.communicate(timeout=60)
    assert restoring.returncode == 0, out + err
    assert (quiesce.directory / "staging" / "file").read_text() == "saved"
    assert list(quiesce.points("shop")) == ["one"]


def test_what_is_read_is_free_again_when_the_restore_is_killed(
    quiesce: CommandLine, restoring: subprocess.Popen[str]
) -> None:
    restoring.send_signal(signal.SIGKILL)
    restoring.wait()
    (quiesce.directory / "go").touch()
    quiesce("backup", "shop", "-p", "snapshot_name=two")


def test_two_that_read_each_other_both_come_to_an_end(quiesce: CommandLine, saved: Path) -> None:
    staging = made(quiesce, "staging", "staging")
    quiesce("backup", "staging", "-p", "snapshot_name=two", *FULL)
    crossing = [
        quiesce.start("restore", "shop", "--to", "staging", "-p", "snapshot_name=one"),
        quiesce.start("restore", "staging", "--to", "shop", "-p", "snapshot_name=two"),
    ]
    ended = [(process.communicate(timeout=120), process.returncode) for process in crossing]
    statuses = [status for _, status in ended]
    assert ExitStatus.OK in statuses, ended
    assert set(statuses) <= {ExitStatus.OK, ExitStatus.REFUSED}, ended
    if statuses[0] == ExitStatus.OK:
        assert (staging / "file").read_text() == "saved"
    if statuses[1] == ExitStatus.OK:
        assert (saved / "file").read_text() == "staging"


def test_what_the_source_owes_is_paid_before_it_is_held(quiesce: CommandLine, saved: Path) -> None:
    """An engine that was killed with its guard has left something frozen: nobody else could thaw it."""
    made(quiesce, "staging", "staging")
    (quiesce.directory / "slow").touch()
    frozen = quiesce.directory / "frozen-shop"
    quiesce.start("backup", "shop", "-p", "snapshot_name=two")
    eventually(frozen.exists, "it is frozen")
    quiesce.kill_everything()
    (quiesce.directory / "slow").unlink()
    assert frozen.exists()
    quiesce("restore", "shop", "--to", "staging", "-p", "snapshot_name=one")
    assert not frozen.exists()


SCRIPTED = """\
tosca_definitions_version: cloudify_dsl_1_3
imports: [cloudify/types/types.yaml, plugin:quiesce]
inputs: {data: {type: string}}
node_templates:
  dump:
    type: cloudify.nodes.Root
    interfaces:
      cloudify.interfaces.snapshot: {create: dump.sh, apply: dump.sh, delete: dump.sh}
  files:
    type: quiesce.nodes.host.Directory
    properties: {path: {get_input: data}}
"""


def instance(quiesce: CommandLine, deployment: str, node: str) -> str:
    """The instance of a node of which there is one."""
    groups = quiesce("plan", "backup", deployment, "--json").json["plan"]["groups"]
    return next(
        str(step["instance"]) for _, steps in groups for step in steps if step["instance"].startswith(node)
    )


def test_what_a_script_has_saved_is_named_and_nothing_is_touched(quiesce: CommandLine, saved: Path) -> None:
    (quiesce.directory / "served.yaml").write_text(SCRIPTED)
    for name in ("one", "other"):
        data = quiesce.directory / name
        data.mkdir()
        quiesce("init", "served.yaml", "-b", name, "-i", f"data={data}")
    quiesce("backup", "one", "-p", "snapshot_name=one", *FULL)
    go = ("restore", "one", "--to", "other", "-p", "snapshot_name=one")
    dump = instance(quiesce, "one", "dump")
    told = quiesce(*go, status=ExitStatus.REFUSED).err
    assert f"{dump} cannot go to {instance(quiesce, 'other', 'dump')}" in told
    assert "a script, which is not told whose restore point it is" in told
    assert "nothing was touched" in told
    assert "--map SOURCE= to leave one out" in told
    assert not (quiesce.directory / "apply").exists()
    quiesce(*go, "--map", f"{dump}=")
    assert not (quiesce.directory / "apply").exists()


def test_a_target_that_a_script_restores_is_named(quiesce: CommandLine, saved: Path) -> None:
    """Its own script would put back a restore point of its own."""
    own = "    interfaces: {cloudify.interfaces.snapshot: {apply: dump.sh}}\n"
    text = SERVED.replace("{path: {get_input: data}}\n", f"{{path: {{get_input: data}}}}\n{own}")
    (quiesce.directory / "served.yaml").write_text(text)
    staging = made(quiesce, "staging", "staging")
    told = quiesce(
        "restore", "shop", "--to", "staging", "-p", "snapshot_name=one", status=ExitStatus.REFUSED
    ).err
    assert "is not told whose restore point it is" in told
    assert not (quiesce.directory / "apply").exists()
    assert (staging / "file").read_text() == "staging"


def test_a_resumed_one_holds_what_it_reads(quiesce: CommandLine, saved: Path) -> None:
    staging = made(quiesce, "staging", "staging", wait="start")
    process = quiesce.start("restore", "shop", "--to", "staging", "-p", "snapshot_name=one")
    waiting = quiesce.directory / "waiting"
    eventually(lambda: waiting.exists() or process.poll() is not None, "it has begun to start")
    assert (staging / "file").read_text() == "saved"
    holders = {(quiesce.home / "leases" / name).read_text() for name in ("shop", "staging")}
    (execution,) = holders
    quiesce.kill_everything()
    waiting.unlink()
    resumed = quiesce.start("executions", "resume", execution)
    eventually(lambda: waiting.exists() or resumed.poll() is not None, "it starts again")
    assert resumed.poll() is None, resumed.communicate()
    assert (quiesce.home / "leases" / "shop").read_text() == execution
    (quiesce.directory / "go").touch()
    out, err = resumed.communicate(timeout=60)
    assert resumed.returncode == 0, out + err
    assert (quiesce.home / "leases" / "shop").read_text() == ""
