"""Every habit has its command, and each command, option and key that the table names is there."""

from __future__ import annotations

import re
from pathlib import Path

import click
import pytest

from quiesce.cli.main import quiesce
from quiesce.model.options import options_of
from quiesce.model.policy import PolicyRules

PAGE = (Path(__file__).parents[2] / "docs" / "habits.md").read_text()
ROWS = [line.strip("| ").split(" | ") for line in PAGE.splitlines() if re.match(r"^\| [^-h|]", line)]
COMMANDS = sorted({found for row in ROWS for found in re.findall(r"`(quiesce [^`]+)`", row[1])})
KEYS = {
    key
    for row in ROWS
    for group in re.findall(r"\((`[^)]*`)\)", row[1])
    for key in re.findall(r"`(\w+)`", group)
}


def test_no_habit_is_missing_here() -> None:
    assert len(ROWS) > 25
    for row in ROWS:
        assert len(row) == 7, row
        assert "missing" not in row[1]
        assert row[1].strip() not in {"", "-"}, row


@pytest.mark.parametrize("text", COMMANDS)
def test_every_command_and_option_is_there(text: str) -> None:
    command: click.Command = quiesce
    words = text.split()[1:]
    while words and isinstance(command, click.Group):
        name = words.pop(0)
        found = command.get_command(click.Context(command), name)
        assert found is not None, text
        command = found
    options = {option for each in command.params for option in each.opts}
    assert {word for word in words if word.startswith("--")} <= options


def test_every_key_is_one_of_a_policy() -> None:
    assert KEYS
    assert {each.name for each in options_of(PolicyRules)} >= KEYS
