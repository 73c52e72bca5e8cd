"""What an operator is told without asking: what a plan warns of, and what a note means."""

from __future__ import annotations

import contextlib
import os
import pty

import pytest

from .shop import SHOP, CommandLine, Shop

#: as SHOP, and a node whose piece of a restore point cannot be removed
STICKY_SHOP = (
    SHOP
    + """\
  sticky:
    type: cloudify.nodes.Root
    interfaces: {cloudify.interfaces.snapshot: {create: till.sh}}
"""
)


#: a program that is paused before a script freezes what it depends on
WAITING = """\
tosca_definitions_version: cloudify_dsl_1_3
imports: [cloudify/types/types.yaml, plugin:quiesce]
node_templates:
  db:
    type: cloudify.nodes.Root
    interfaces:
      cloudify.interfaces.freeze: {fs_prepare: till.sh, fs_finalize: till.sh}
      cloudify.interfaces.snapshot: {create: till.sh, delete: till.sh}
  web:
    type: quiesce.nodes.host.PausedProcess
    properties: {pid_file: /nonexistent/web.pid}
    relationships: [{type: cloudify.relationships.connected_to, target: db}]
"""


@pytest.fixture
def sticky_shop(quiesce: CommandLine, shop: Shop) -> Shop:
    """A shop of which not everything can be removed again."""
    (shop.directory / "shop.yaml").write_text(STICKY_SHOP)
    quiesce("deployments", "remove", "shop")
    quiesce("init", "shop.yaml", "-b", "shop", "-i", f"data={shop.data}")
    return shop


@pytest.mark.parametrize(
    ("workflow", "word"), [("suspend", "suspended"), ("resume", "resumed")], ids=["suspend", "resume"]
)
def test_a_workflow_that_has_nothing_to_do_says_so(
    quiesce: CommandLine, shop: Shop, workflow: str, word: str
) -> None:
    told = quiesce(workflow, "shop").out.splitlines()
    assert f"LOG <shop> WARNING: nothing can be {word}: no chosen node has" in told[1]
    (execution,) = quiesce.executions()
    assert f"warning: nothing can be {word}" in quiesce("executions", "show", execution["id"]).out
    assert f"warning: nothing can be {word}" in quiesce("plan", workflow, "shop").out


def test_removing_all_of_nothing_says_so(quiesce: CommandLine, shop: Shop) -> None:
    assert "WARNING: there is no restore point" in quiesce("remove-backup", "shop", "--all", "true").out


def test_what_the_plan_warns_of_is_told_when_it_runs(quiesce: CommandLine, sticky_shop: Shop) -> None:
    warning = "sticky can make a restore point but not remove it"
    assert f"warning: {warning}" in quiesce("plan", "backup", "shop").out
    assert f"LOG <shop> WARNING: {warning}" in quiesce("backup", "shop").out
    lines = quiesce("backup", "shop", "-p", "snapshot_name=two", "--json").lines
    assert warning in lines[-1]["report"]["warnings"][0]
    assert [line for line in lines if warning in line.get("event", {}).get("message", "")]


def test_the_doctor_finds_the_deadlock_that_the_plan_warns_of(quiesce: CommandLine, shop: Shop) -> None:
    """Who looks before the first night is told what to do, not only that it may go wrong."""
    (shop.directory / "waiting.yaml").write_text(WAITING)
    quiesce("init", "waiting.yaml", "-b", "waiting")
    (warning,) = quiesce("plan", "backup", "waiting", "--json").json["plan"]["warnings"]
    found = quiesce("doctor", "waiting", "--json", status=5).json["findings"]
    (db,) = (name for name in found if name.startswith("db_"))
    (pause,) = (finding for finding in found[db] if finding["check"] == "pause")
    assert pause["detail"] == warning
    assert not pause["passed"]
    assert "quiesce.nodes.host.Process, which is not paused" in pause["remedy"]


def test_on_a_terminal_too(quiesce: CommandLine, sticky_shop: Shop) -> None:
    ours, theirs = pty.openpty()
    streams = {"stdin": theirs, "stdout": theirs, "stderr": theirs}
    quiesce.environment = {"TERM": "xterm", "COLUMNS": "300"}
    process = quiesce.start("backup", "shop", **streams)
    os.close(theirs)
    seen = b""
    with contextlib.suppress(OSError):
        while text := os.read(ours, 4096):
            seen += text
    os.close(ours)
    assert process.wait(60) == 0
    assert b"WARNING: sticky can make a restore point but not remove it" in seen
    assert b"warning: sticky can make a restore point but not remove it" in seen


def test_a_window_that_will_be_too_long_is_told_of(quiesce: CommandLine, slow_shop: Shop) -> None:
    (slow_shop.directory / "go").touch()
    quiesce("backup", "shop", "-p", "snapshot_name=one", "--max-freeze", "10m")
    told = quiesce("plan", "backup", "shop", "-p", "max_freeze=1ms").out
    assert "is over max_freeze (0.001 s)" in told
    late = quiesce("backup", "shop", "-p", "snapshot_name=two", "--max-freeze", "1ms", status=6).out
    assert "WARNING: the predicted frozen window of" in late
