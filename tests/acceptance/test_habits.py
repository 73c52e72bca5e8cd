"""What people are used to from other tools: nearly right words, silence, completion, forgetting."""

from __future__ import annotations

from pathlib import Path

import pytest

from .shop import CommandLine, Shop


@pytest.mark.parametrize(
    ("words", "meant"),
    [
        (("bakups", "list"), "Did you mean 'backups'?"),
        (("remove_backup", "shop"), "Did you mean 'remove-backup'?"),
        (("backups", "verfy"), "Did you mean 'verify'?"),
        (("plan", "bakup", "shop"), "did you mean 'backup'?"),
        (("backups", "list", "shp"), "did you mean 'shop'?"),
    ],
)
def test_a_word_that_is_nearly_right_is_answered_with_the_right_one(
    quiesce: CommandLine, shop: Shop, words: tuple[str, ...], meant: str
) -> None:
    status = 2 if meant[0] == "D" else 4
    assert meant in quiesce(*words, status=status).err


def test_a_wrong_word_is_json_where_json_is_asked_for(quiesce: CommandLine) -> None:
    for words in (("bakups", "--json"), ("backups", "list", "--nonsense", "--json"), ("plan", "--json")):
        error = quiesce(*words, status=2).json["error"]
        assert (error["code"], error["exit_status"]) == ("usage", 2)
        assert error["message"]


def test_full_is_a_backup_and_a_snapshot_says_what_it_is_not(quiesce: CommandLine, shop: Shop) -> None:
    snapshot = quiesce("backup", "shop", "--snapshot-name", "one")
    assert "does not survive it" in snapshot.err
    assert "quiesce backup --full shop" in snapshot.err
    backup = quiesce("backup", "--full", "shop", "--snapshot-name", "two")
    assert "does not survive it" not in backup.err
    points = quiesce("backups", "list", "shop", "--json").json["restore_points"]
    assert {point["name"]: point["full"] for point in points} == {"one": False, "two": True}
    both = quiesce("backup", "shop", "--full", "--snapshot-incremental", "true", status=2)
    assert "give one of --full and --snapshot-incremental" in both.err


def test_quiet_says_nothing_but_what_is_wrong(quiesce: CommandLine, shop: Shop) -> None:
    told = quiesce("backup", "shop", "-q", "--snapshot-name", "one")
    assert (told.out, told.err) == ("", "")
    told = quiesce("suspend", "shop", "-q")
    assert "WARNING: nothing can be suspended" in told.out
    (shop.data / "orders.db").unlink()
    told = quiesce("backup", "shop", "-q", status=6)
    assert "orders" in told.err
    assert "Starting" not in told.out


class TestCompletion:
    """What the shell asks for while somebody presses the tabulator."""

    @pytest.mark.parametrize(
        "line",
        ["backups show shop ", "restore shop --snapshot-name ", "backups verify shop n", "plan restore "],
    )
    def test_names_of_restore_points_and_deployments(
        self, quiesce: CommandLine, shop: Shop, line: str
    ) -> None:
        quiesce("backup", "shop", "--snapshot-name", "nightly")
        expected = "shop" if line == "plan restore " else "nightly"
        assert _completed(quiesce, line) == [expected]

    def test_executions_newest_first_and_workflows(self, quiesce: CommandLine, shop: Shop) -> None:
        quiesce("suspend", "shop")
        quiesce("backup", "shop")
        ids = [execution["id"] for execution in quiesce.executions()]
        assert _completed(quiesce, "events ") == list(reversed(ids))
        assert _completed(quiesce, "plan remove_") == ["remove_backup"]

    def test_it_makes_nothing_where_nothing_is(self, quiesce: CommandLine) -> None:
        assert _completed(quiesce, "backups list ") == []
        assert not quiesce.home.exists()

    def test_what_cannot_be_read_completes_nothing(self, quiesce: CommandLine, shop: Shop) -> None:
        (quiesce.home / "quiesce.db").write_bytes(b"not a database" * 512)
        assert _completed(quiesce, "backups list ") == []


def _completed(quiesce: CommandLine, line: str) -> list[str]:
    words = f"quiesce {line}"
    environment = {
        "COMP_WORDS": words,
        "COMP_CWORD": str(len(words.split(" ")) - 1),
        "_QUIESCE_COMPLETE": "bash_complete",
    }
    asked = CommandLine(home=quiesce.home, directory=quiesce.directory, environment=environment)
    answer = asked.start()
    out, err = answer.communicate()
    assert err == ""
    return [item.partition(",")[2] for item in out.splitlines() if item]


class TestForgettingExecutions:
    """executions prune."""

    def test_it_keeps_what_somebody_needs(self, quiesce: CommandLine, shop: Shop) -> None:
        quiesce("backup", "shop", "--snapshot-name", "kept")
        for _ in range(3):
            quiesce("suspend", "shop")
        quiesce("restore", "shop", "--snapshot-name", "kept")
        quiesce("backup", "shop", "--snapshot-name", "gone")
        quiesce("remove-backup", "shop", "--snapshot-name", "gone")
        words = ("executions", "prune", "shop", "--older-than", "0h", "--keep-last", "1")
        before = quiesce.executions()
        shown = quiesce(*words)
        assert "say --yes" in shown.out
        assert quiesce.executions() == before
        quiesce(*words, "--yes")
        left = [execution["workflow"] for execution in quiesce.executions()]
        # of the last backup the point is gone, but it is the last backup
        assert left == ["backup", "suspend", "restore", "backup", "remove_backup"]
        assert (shop.data / "orders.db").exists()
        quiesce("restore", "shop", "--undo")
        quiesce("restore", "shop", "--snapshot-name", "kept")

    def test_nothing_is_left_of_what_is_forgotten(self, quiesce: CommandLine, shop: Shop) -> None:
        for _ in range(3):
            quiesce("suspend", "shop")
        first = quiesce.executions()[0]["id"]
        quiesce("executions", "prune", "--older-than", "0h", "--keep-last", "1", "--yes")
        assert len(quiesce.executions()) == 1
        assert "unknown-name" in quiesce("events", first, status=4).err
        assert first.encode() not in _stored(quiesce.home)

    def test_the_young_stay(self, quiesce: CommandLine, shop: Shop) -> None:
        for _ in range(3):
            quiesce("suspend", "shop")
        asked = quiesce("executions", "prune", "--older-than", "1h", "--keep-last", "1", "--json")
        assert asked.json["executions"] == []


def _stored(home: Path) -> bytes:
    return b"".join(path.read_bytes() for path in home.glob("quiesce.db*"))
