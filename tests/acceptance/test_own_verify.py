"""A blueprint's own ``verify`` decides what is said of a restore point (docs/providers/script.md)."""

from __future__ import annotations

import pytest

from quiesce.errors import ExitStatus
from quiesce.model.operation import RESTORE_VERIFY

from .conftest import Opener
from .shop import SHOP, CommandLine, Shop

#: a dump by script, and a directory, each with a check of its own
CHECKED_SHOP = (
    SHOP.replace(
        "properties: {path: {get_input: data}}\n",
        """properties: {path: {get_input: data}}
    interfaces:
      quiesce.interfaces.restore: {verify: own.sh}
""",
    )
    + """\
  dump:
    type: cloudify.nodes.Root
    interfaces:
      cloudify.interfaces.snapshot: {create: dump.sh, apply: dump.sh, delete: dump.sh}
      quiesce.interfaces.restore: {verify: check.sh}
"""
)
FULL = ("-p", "snapshot_name=one", "--snapshot-incremental", "false")
DUMP = """\
node_types:
  Dump:
    derived_from: cloudify.nodes.Root
    properties: {skip_actions: {default: []}}
"""
READ = """ctx returns '@{"read": true, "detail": "3 tables"}'\n"""


@pytest.fixture
def checked_shop(quiesce: CommandLine, opened: Opener) -> Shop:
    """A shop with the backup ``one``, whose nodes check what is stored themselves."""
    return opened(quiesce, CHECKED_SHOP, _with_backup)


def _with_backup(quiesce: CommandLine, shop: Shop) -> None:
    quiesce("backup", "shop", *FULL)


def script(shop: Shop, name: str, text: str) -> None:
    """Write a script of the blueprint."""
    (shop.directory / name).write_text(f"#!/bin/sh\nset -eu\n{text}")


def trust(quiesce: CommandLine) -> str:
    """What the catalog says of the backup."""
    return str(quiesce.points("shop")["one"]["trust"])


def test_a_check_that_says_it_has_read_everything_proves(quiesce: CommandLine, checked_shop: Shop) -> None:
    script(checked_shop, "check.sh", READ)
    told = quiesce("backups", "verify", "shop", "one").out
    assert "good 3 tables" in told
    assert "one is proven: everything was read" in told
    assert trust(quiesce) == "proven"


def test_a_check_that_does_not_say_so_proves_a_part(quiesce: CommandLine, checked_shop: Shop) -> None:
    told = quiesce("backups", "verify", "shop", "one").out
    assert "checked, not read in full" in told
    assert trust(quiesce) == "partly"


def test_a_check_knows_what_it_is_about_and_restores_nothing(
    quiesce: CommandLine, checked_shop: Shop
) -> None:
    script(
        checked_shop,
        "check.sh",
        'echo "$QUIESCE_OPERATION $QUIESCE_WORKFLOW $QUIESCE_POINT" >facts\n'
        'echo "$snapshot_name $snapshot_incremental" >>facts\n',
    )
    quiesce("backups", "verify", "shop", "one")
    assert (checked_shop.directory / "facts").read_text() == "verify verify one\none false\n"
    assert not (checked_shop.directory / "applied-apply").exists()


@pytest.mark.parametrize(
    ("check", "reason"),
    [
        ("echo 'orders is cut off' >&2\nexit 3\n", "ended with exit status 3: orders is cut off"),
        ("ctx abort_operation 'orders is cut off'\n", "orders is cut off"),
    ],
)
@pytest.mark.parametrize("name", ["check.sh", "own.sh"])
def test_a_check_that_fails_marks_the_point_and_refuses_its_restore(
    quiesce: CommandLine, checked_shop: Shop, name: str, check: str, reason: str
) -> None:
    """Also where every byte of the directory's own copy is what was written."""
    script(checked_shop, name, check)
    told = quiesce("backups", "verify", "shop", "one", status=ExitStatus.DAMAGED)
    node = "dump" if name == "check.sh" else "files"
    assert f"{checked_shop.instances[node]}: DAMAGED" in told.out
    assert reason in told.out
    assert trust(quiesce) == "damaged"
    assert reason in quiesce("backups", "show", "shop", "one").out
    refused = quiesce("restore", "shop", "-p", "snapshot_name=one", status=ExitStatus.DAMAGED)
    assert reason in refused.err
    assert not (checked_shop.directory / "applied-apply").exists()


def test_a_restore_asks_the_check_first(quiesce: CommandLine, checked_shop: Shop) -> None:
    script(checked_shop, "check.sh", "exit 1\n")
    quiesce("restore", "shop", "-p", "snapshot_name=one", status=ExitStatus.DAMAGED)
    assert not (checked_shop.directory / "applied-apply").exists()
    script(checked_shop, "check.sh", READ)
    quiesce("backups", "verify", "shop", "one")
    quiesce("restore", "shop", "-p", "snapshot_name=one")
    assert (checked_shop.directory / "applied-apply").exists()


@pytest.mark.parametrize("check", [None, "ctx retry_operation later\n", "kill -9 $$\n"])
def test_a_check_that_could_not_be_made_is_no_damage(
    quiesce: CommandLine, checked_shop: Shop, check: str | None
) -> None:
    if check is None:
        (checked_shop.directory / "check.sh").unlink()
    else:
        script(checked_shop, "check.sh", check)
    told = quiesce("backups", "verify", "shop", "one", status=ExitStatus.REFUSED)
    assert f"{checked_shop.instances['dump']}: unreachable" in told.out
    assert trust(quiesce) == "never"


def test_a_node_that_skips_it_is_not_asked(quiesce: CommandLine, opened: Opener) -> None:
    """``skip_actions`` leaves it out, as it does every operation."""
    skipping = f"{CHECKED_SHOP}    properties: {{skip_actions: [{RESTORE_VERIFY}]}}\n{DUMP}".replace(
        "dump:\n    type: cloudify.nodes.Root", "dump:\n    type: Dump"
    )
    shop = opened(quiesce, skipping, _with_backup)
    script(shop, "check.sh", "exit 1\n")
    assert "not checked" in quiesce("backups", "verify", "shop", "one").out


def test_a_trial_of_the_rest_does_not_hide_what_is_damaged(quiesce: CommandLine, checked_shop: Shop) -> None:
    """Only directories can be restored on trial; the last check said that the dump is damaged."""
    script(checked_shop, "check.sh", "exit 1\n")
    quiesce("backups", "verify", "shop", "one", status=ExitStatus.DAMAGED)
    told = quiesce("backups", "prove", "shop", "one", status=ExitStatus.DAMAGED).err
    assert "dump" in told
    assert trust(quiesce) == "damaged"
