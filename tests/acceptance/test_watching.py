"""Following an execution: live on a terminal, from elsewhere, and when nobody reads any more."""

from __future__ import annotations

import contextlib
import os
import pty
import re
from collections.abc import Iterator

from quiesce.errors import ExitStatus

from .shop import UNBOUNDED, CommandLine, Shop, start_slow_backup


def test_events_can_be_followed_while_they_happen(quiesce: CommandLine, slow_shop: Shop) -> None:
    process = start_slow_backup(quiesce, slow_shop)
    (running,) = quiesce.executions()
    following = quiesce.start("events", running["id"], "--follow")
    assert following.stdout is not None
    assert "Starting 'backup' workflow execution" in following.stdout.readline()
    (slow_shop.directory / "go").touch()
    printed, _ = process.communicate(timeout=60)
    followed = following.stdout.read()  # not communicate(): a line was read, so more may be buffered
    assert followed.splitlines() == printed.splitlines()[1:]
    assert following.wait(60) == ExitStatus.OK


def test_on_a_terminal_the_group_and_the_frozen_time_are_shown_and_then_the_result(
    quiesce: CommandLine, slow_shop: Shop
) -> None:
    ours, theirs = pty.openpty()
    streams = {"stdin": theirs, "stdout": theirs, "stderr": theirs}
    quiesce.environment = {"TERM": "xterm", "COLUMNS": "160"}
    process = quiesce.start("backup", "shop", "-p", "snapshot_name=one", *UNBOUNDED, **streams)
    os.close(theirs)
    seen = ""
    for text in _typed(ours):
        seen += re.sub(r"\x1b\[[?0-9;]*[A-Za-z]", "", text)
        if re.search(r"cut: 1 of 2 done, 1 running\s+frozen for", seen):
            (slow_shop.directory / "go").touch()
    os.close(ours)
    assert process.wait(60) == ExitStatus.OK, seen
    assert (slow_shop.directory / "go").exists(), seen
    assert "restore point one: snapshot, complete, consistency crash, 2 instances" in seen
    assert re.search(r"frozen window: .* \(1 frozen, 1 thawed; longest orders_", seen)
    assert "CFY <shop>" not in seen


def test_a_reader_that_goes_away_does_not_stop_the_execution(quiesce: CommandLine, slow_shop: Shop) -> None:
    process = start_slow_backup(quiesce, slow_shop)
    assert process.stdout is not None
    process.stdout.close()
    (slow_shop.directory / "go").touch()
    assert process.wait(60) == ExitStatus.OK
    assert not slow_shop.is_frozen()
    assert quiesce.points("shop")["slow"]["state"] == "complete"


def _typed(descriptor: int) -> Iterator[str]:
    """Give what appears on the terminal, until the last program on it has ended."""
    with contextlib.suppress(OSError):
        while text := os.read(descriptor, 4096):
            yield text.decode(errors="replace")
