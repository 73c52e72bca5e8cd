"""Every habit of the table in docs/habits.md has its command here, and each command is run."""

from __future__ import annotations

import re
import signal
import socket
import urllib.request
from collections.abc import Mapping
from pathlib import Path

from quiesce.model.options import options_of
from quiesce.model.policy import PolicyRules

from .shop import CommandLine, Shop, eventually

PAGE = (Path(__file__).parents[2] / "docs" / "habits.md").read_text()
ROWS = [line.strip("| ").split(" | ") for line in PAGE.splitlines() if re.match(r"^\| (?!habit )", line)]
COMMANDS = {found for row in ROWS for found in re.findall(r"`(quiesce [^`]+)`", row[1])}
KEYS = {
    key
    for row in ROWS
    for group in re.findall(r"\((`[^)]*`)\)", row[1])
    for key in re.findall(r"`(\w+)`", group)
}
#: what follows each command of the table, in an order in which they can be run; a word that is in braces is
#: made by the test
WORDS: Mapping[str, str] = {
    "quiesce discover host": "-o below={somebody}",
    "quiesce doctor": "shop",
    "quiesce plan": "backup shop",
    "quiesce backup --full": "shop --snapshot-name one",
    "quiesce backup": "shop --snapshot-name two",
    "quiesce backup --quiet": "shop --full --snapshot-name three",
    "quiesce statistics --watch": "0.1 --times 2 shop",
    "quiesce policy set": "shop nightly {keys}",
    "quiesce policy list": "",
    "quiesce schedule install": "",
    "quiesce run-due --quiet": "",
    "quiesce run-due --metrics-file": "{directory}/quiesce.prom",
    "quiesce metrics": "",
    "quiesce metrics --dashboard": "",
    "quiesce metrics --alerts": "",
    "quiesce backups list": "shop",
    "quiesce backups list --json": "shop",
    "quiesce backups ls": "shop one {files}",
    "quiesce backups extract": "shop one {files} hours.txt -o {directory}/taken",
    "quiesce backups verify": "shop one",
    "quiesce backups prove": "shop one",
    "quiesce restore --snapshot-name latest": "shop",
    "quiesce restore --undo": "shop",
    "quiesce restore": "shop --snapshot-name one",
    "quiesce restore --target": "{directory}/below shop --snapshot-name one",
    "quiesce restore --to": "other shop --snapshot-name one",
    "quiesce executions list": "shop",
    "quiesce report": "{execution} -o {directory}/report.html",
    "quiesce executions prune": "shop",
    "quiesce backups prune": "shop --keep-last 1",
    "quiesce keys export": "--output {directory}/safe.keys",
    "quiesce repository keys export": "{directory}/first --output {directory}/first.key",
    "quiesce repository copy": "{directory}/first {directory}/second",
    "quiesce backups rebuild": "shop",
    "quiesce recover": "",
    "quiesce completion": "bash",
}
#: does not end by itself
SERVING = "quiesce serve"


def test_no_habit_is_missing_here() -> None:
    assert len(ROWS) > 25
    for row in ROWS:
        assert len(row) == 7, row
        assert "missing" not in row[1]
        assert row[1].strip() not in {"", "-"}, row


def test_every_command_of_the_table_is_run() -> None:
    assert WORDS.keys() | {SERVING} == COMMANDS


def test_the_commands_of_the_table_work_one_after_the_other(
    quiesce: CommandLine, shop: Shop, shop_of_somebody: Path
) -> None:
    other = shop.directory / "elsewhere"
    other.mkdir()
    quiesce("init", "shop.yaml", "-b", "other", "-i", f"data={other / 'data'}")
    quiesce("repository", "init", str(shop.directory / "first"))
    quiesce("repository", "init", str(shop.directory / "second"), "--like", str(shop.directory / "first"))
    made = {"files": shop.instances["files"], "directory": str(shop.directory), "keys": _keys()}
    made["somebody"] = str(shop_of_somebody.parent)
    for command, words in WORDS.items():
        if "{execution}" in words:
            made["execution"] = quiesce.executions()[-1]["id"]
        quiesce(*command.split()[1:], *(word for part in words.split() for word in _made(part, made)))
    for name in ("quiesce.prom", "taken", "below", "report.html", "safe.keys", "first.key"):
        assert (shop.directory / name).exists(), name
    assert (other / "data" / "hours.txt").read_text() == "nine to five"


def test_the_page_to_look_at_is_served(quiesce: CommandLine, shop: Shop) -> None:
    quiesce("users", "add", "ada")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    serving = quiesce.start("serve", "--port", str(port), "--no-run-due")

    def answers() -> bool:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/login") as page:
                return b"Your token" in page.read()
        except OSError:
            return False

    eventually(answers, "the console answers")
    serving.send_signal(signal.SIGTERM)
    serving.communicate(timeout=60)


def _keys() -> str:
    """Return all keys that the table names, with the schedule that each policy has."""
    values = {
        "catch_up": "true",
        "keep_daily": "7",
        "keep_weekly": "4",
        "verify_every": "7d",
        "prove_every": "30d",
        "prove_check": "ls",
        "copy_to": "[]",
        "notify": "[]",
        "dead_man": "pulse",
        "overdue_after": "1h",
    }
    assert values.keys() == KEYS
    assert {each.name for each in options_of(PolicyRules)} >= KEYS
    return " ".join(["schedule=@daily", "kind=backup", *(f"{key}={value}" for key, value in values.items())])


def _made(word: str, made: Mapping[str, str]) -> list[str]:
    """Return what *word* stands for; the keys of a policy are several."""
    return word.format(**made).split() if word == "{keys}" else [word.format(**made)]
