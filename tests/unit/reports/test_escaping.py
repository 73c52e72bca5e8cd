"""Nothing that others named or answered reaches a terminal as more than text."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quiesce.cli.main import _show, run
from quiesce.errors import UsageError
from quiesce.model.consistency import Consistency
from quiesce.model.ids import BackupName, DeploymentName, ExecutionId
from quiesce.model.restore_point import PointState, RestorePoint
from quiesce.reports.escaping import escaped_json, printable, printable_block, printable_lines
from quiesce.reports.events import Event
from quiesce.reports.html import render_html
from quiesce.reports.json import render_error, render_json, render_json_line
from quiesce.reports.text import execution_text, point_text, points_text, table

from .test_views import REPORT

#: a title, the clipboard (OSC 52), colours, the eight-bit form of ESC [, backspaces, text turned round,
#: a line of ours forged, half a character as undecodable paths have
ATTACKS = [
    "\x1b]0;owned\x07",
    "\x1b]52;c;cm0gLXJm\x07",
    "\x1b[2J\x1b[31m",
    "\x9b31m",
    "good\b\b\b\bbad",
    "a\rb",
    "\u202egnp.exe\u2066\u200f",
    "\x00\x7f\x85",
    "\udcff",
    "\u2028",
]
HARMFUL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


@pytest.mark.parametrize("attack", ATTACKS)
def test_no_view_shows_it_raw(attack: str) -> None:
    """Text, tables, events, JSON and the page."""
    execution = replace(REPORT.execution, message=attack)
    report = replace(REPORT, execution=execution, warnings=(attack,), advice=attack)
    point = RestorePoint(
        deployment=DeploymentName("shop"),
        name=BackupName(attack),
        full=True,
        type="backup",
        rotation=0,
        execution=ExecutionId(attack),
        state=PointState.COMPLETE,
        consistency=Consistency.CRASH,
        made_at=1.0,
    )
    event = Event(at=1.0, kind="LOG", deployment=attack, context=attack, message=attack)
    views = [
        execution_text(report),
        point_text(point),
        points_text([point], 0.0),
        table(("A",), [(attack,)]),
        str(event),
        render_json("report", report),
        render_json_line("event", event),
        render_error(UsageError(attack, hint=attack)),
        render_html(report),
    ]
    for view in views:
        assert not HARMFUL.search(view), repr(view)


@pytest.mark.parametrize("attack", ATTACKS)
def test_no_error_shows_it_raw(attack: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Neither ours nor those about the command line."""
    _show(UsageError(attack, hint=attack), as_json=True)
    run([attack.replace("\x00", "")])
    shown = capsys.readouterr()
    assert not HARMFUL.search(shown.out + shown.err)


def test_a_message_cannot_forge_an_event() -> None:
    """What follows a line end is indented, and a name has none."""
    forged = "x\n2026-01-01 00:00:00.000  CFY <shop> 'backup' workflow execution succeeded"
    event = Event(at=1.0, kind="LOG", deployment="shop", context=forged, message=forged)
    assert [line for line in str(event).splitlines()[1:] if not line.startswith("    ")] == []
    assert len(str(event).splitlines()) == 2


@given(st.text())
def test_what_is_harmless_is_unchanged_and_the_rest_is_gone(text: str) -> None:
    """On one line, over many, and in a block."""
    for view in (printable(text), printable_lines(text), printable_block(text)):
        assert not HARMFUL.search(view.replace("\n", ""))
    if text.isascii() and text.isprintable():
        assert printable(text) == text


@given(st.recursive(st.text(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)))
def test_json_means_the_same(value: object) -> None:
    """Escaping changes how it is written, not what it says."""
    assert json.loads(escaped_json(json.dumps(value, ensure_ascii=False, indent=2))) == value


def test_the_page_runs_and_loads_nothing() -> None:
    """A policy says so to the browser."""
    page = render_html(REPORT)
    policy = re.search(r'http-equiv="Content-Security-Policy" content="([^"]*)"', page)
    assert policy is not None
    assert "default-src 'none'" in policy[1]
    assert "script-src" not in policy[1]
    assert "<script" not in page


def test_the_command_line_prints_in_one_place() -> None:
    """A printer that forgets to escape is found here."""
    source = Path(__file__).parents[3] / "src" / "quiesce"
    printers = {
        path.relative_to(source).as_posix()
        for path in source.glob("cli/**/*.py")
        if re.search(r"click\.s?echo\(|\bprint\(|stdout\.write", path.read_text())
    }
    # completion prints what click made of our own names, the console events (which escape)
    assert printers == {"cli/printing.py", "cli/console.py", "cli/commands/completion.py"}
