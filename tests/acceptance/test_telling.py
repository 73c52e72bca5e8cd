"""What an operator is told without asking: what a plan warns of, and what a note means."""

from __future__ import annotations

import contextlib
import os
import pty
import re

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
    unsized = ("-p", "exclude_nodes=files", "-p", "max_freeze=1ms")
    told = quiesce("plan", "backup", "shop", *unsized).out
    assert "is over max_freeze (0.001 s)" in told
    late = quiesce("backup", "shop", "-p", "snapshot_name=two", *unsized, status=6).out
    assert "WARNING: the predicted frozen window of" in late


def fill(shop: Shop) -> None:
    """Give the shop files that no file system shares: each is below what is copied into a pack."""
    for number in range(200):
        (shop.data / f"picture-{number}").write_bytes(bytes([number]) * 200_000)


def test_what_is_too_large_for_the_window_is_refused_before_it_is_frozen(
    quiesce: CommandLine, shop: Shop
) -> None:
    """310 ms were predicted; it needed over 30 s, every night, and was broken off every night."""
    fill(shop)
    files = shop.instances["files"]
    refused = quiesce("backup", "shop", "--max-freeze", "1ms", status=5).err
    # copied before the window where times tell what has changed since, else within it
    assert re.search(
        rf"{files}: 20\d entries(, copied beforehand, are compared| and 38.* are copied)", refused
    )
    assert (
        "(a careful guess, never measured here); max_freeze allows 0.001 s, so nothing was frozen" in refused
    )
    assert "[window-too-long]" in refused
    assert "exclude_nodes=files" in refused
    assert "max_freeze=1s" in refused
    assert quiesce.executions() == []
    planned = quiesce("plan", "backup", "shop", "-p", "max_freeze=1ms", "--json", status=5)
    assert planned.json["plan"]["refused"]["code"] == "window-too-long"
    assert planned.json["plan"]["cuts"][files]["basis"] == "guessed"
    assert "about" in quiesce("plan", "backup", "shop").out


def test_nothing_is_called_predicted_that_was_not_measured(quiesce: CommandLine, shop: Shop) -> None:
    fill(shop)
    files, orders = shop.instances["files"], shop.instances["orders"]
    first = quiesce("plan", "backup", "shop").out
    assert "predicted" not in first
    assert "frozen window, not measured yet: about" in first
    assert f"never measured: {orders}, {files}" in first
    assert "(a careful guess: nothing alike was measured here)" in first
    quiesce("backup", "shop", "-p", "snapshot_name=one", "--max-freeze", "10m")
    second = quiesce("plan", "backup", "shop").out
    assert "predicted frozen window: " in second
    assert "(at the rates of the last one)" in second
    lasted = quiesce.points("shop")["one"]["artifacts"][0]["content"]["cut_s"]
    cut = quiesce("plan", "backup", "shop", "--json").json["plan"]["cuts"][files]
    assert (cut["basis"], cut["seconds"] >= lasted) == ("measured", True)


def test_so_is_a_cut_that_its_own_timeout_would_break_off(quiesce: CommandLine, shop: Shop) -> None:
    fill(shop)
    refused = quiesce("backup", "shop", "-p", "operation_timeout=0.001", status=5).err
    assert "operation_timeout allows less, so nothing was frozen" in refused


def test_what_nothing_is_frozen_around_may_take_its_time(quiesce: CommandLine, shop: Shop) -> None:
    fill(shop)
    quiesce("backup", "shop", "-p", "exclude_nodes=orders", "--max-freeze", "1ms")


def test_the_plan_refuses_what_cannot_be_worth_enough(quiesce: CommandLine, shop: Shop) -> None:
    """Only the backup itself had refused it."""
    told = quiesce(
        "plan", "backup", "shop", "-p", "exclude_nodes=orders", "-p", "min_consistency=application", status=5
    ).err
    assert "min_consistency application cannot be met by" in told
