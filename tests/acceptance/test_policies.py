"""What a failing freeze or cut means: nothing is incomplete or hidden, and everything is thawed."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from quiesce.errors import ExitStatus

from .shop import MOODY_SHOP, CommandLine, Shop

NO_RETRIES = ("-p", "task_retries=0")


@pytest.fixture
def moody(quiesce: CommandLine, opened: Callable[[CommandLine, str], Shop]) -> Shop:
    """The shop, and a machine that can be made to fail."""
    return opened(quiesce, MOODY_SHOP)


def test_when_one_node_cannot_be_frozen_nothing_is_cut_and_all_is_thawed(
    quiesce: CommandLine, moody: Shop
) -> None:
    (moody.directory / "broken_freeze").touch()
    answer = quiesce("backup", "shop", *NO_RETRIES, status=ExitStatus.FAILED)
    assert f"{moody.instances['vm']}.fs_prepare failed" in answer.err
    assert "snapshot.create" not in answer.out
    assert not (moody.directory / "frozen").exists()
    assert not moody.is_frozen()
    assert quiesce.points("shop") == {}


def test_going_on_without_a_freeze_is_possible_and_visible(quiesce: CommandLine, moody: Shop) -> None:
    (moody.directory / "broken_freeze").touch()
    options = (*NO_RETRIES, "-p", "on_prepare_error=continue")
    quiesce("backup", "shop", "-p", "snapshot_name=one", *options)
    point = quiesce.points("shop")["one"]
    assert (point["state"], point["consistency"]) == ("complete", "crash")
    notes = {artifact["instance"]: artifact["note"] for artifact in point["artifacts"]}
    assert "was not frozen" in notes[moody.instances["vm"]]
    assert not (moody.directory / "frozen").exists()
    picky = ("-p", "snapshot_name=two", "-p", "min_consistency=filesystem", "-p", "exclude_nodes=till")
    answer = quiesce("backup", "shop", *options, *picky, status=ExitStatus.NOT_CONSISTENT)
    assert (
        "restore point two has the consistency crash; min_consistency is filesystem [not-consistent]"
        in answer.err
    )


def test_when_one_cut_fails_all_is_thawed_and_the_other_pieces_are_removed(
    quiesce: CommandLine, moody: Shop
) -> None:
    (moody.directory / "broken_cut").touch()
    answer = quiesce("backup", "shop", *NO_RETRIES, status=ExitStatus.FAILED)
    assert f"{moody.instances['vm']}.create failed" in answer.err
    lines = answer.out.splitlines()
    thawed = max(n for n, line in enumerate(lines) if "Done cloudify.interfaces.freeze.fs_finalize" in line)
    removal = min(
        n for n, line in enumerate(lines) if "Starting to cloudify.interfaces.snapshot.delete" in line
    )
    assert thawed < removal
    assert quiesce.points("shop") == {}
    assert not (moody.directory / "made").exists()
    assert not (moody.directory / ".quiesce-data").exists()


def test_the_other_pieces_are_kept_when_that_was_asked_for(quiesce: CommandLine, moody: Shop) -> None:
    (moody.directory / "broken_cut").touch()
    # the other piece is there before this one fails, however busy the machine is
    (moody.directory / "till.sh").write_text("#!/bin/sh\ntouch sold\n")
    (moody.directory / "cut.sh").write_text(
        "#!/bin/sh\ntouch made\nwhile [ ! -e sold ]; do sleep 0.05; done\nsleep 1\n[ ! -e broken_cut ]\n"
    )
    options = (
        *NO_RETRIES,
        "-p",
        "keep_partial=true",
        "-p",
        "snapshot_name=part",
        "-p",
        "exclude_nodes=files",
    )
    quiesce("backup", "shop", *options, status=ExitStatus.FAILED)
    point = quiesce.points("shop")["part"]
    assert point["state"] == "partial"
    states = {artifact["instance"]: artifact["state"] for artifact in point["artifacts"]}
    assert states == {moody.instances["till"]: "complete", moody.instances["vm"]: "incomplete"}
    quiesce("remove-backup", "shop", "-p", "snapshot_name=part")
    assert quiesce.points("shop") == {}
