"""The demo's proofs have teeth: each fails on the state that it is to find."""

from __future__ import annotations

import hashlib
import sqlite3
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

DEMO = Path(__file__).parents[3] / "examples" / "demo"
RECEIPT = hashlib.sha256(b"receipt").hexdigest()


@pytest.fixture
def demo(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    monkeypatch.syspath_prepend(str(DEMO))
    import proofs

    yield proofs
    for name in ("proofs", "clients", "commands"):
        sys.modules.pop(name, None)


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    """Return the data of a shop that was frozen between its 8th and 9th order."""
    (tmp_path / "receipts").mkdir()
    connection = sqlite3.connect(tmp_path / "shop.db")
    connection.execute("CREATE TABLE orders (id INTEGER PRIMARY KEY, token TEXT, receipt TEXT)")
    with connection:
        for order in range(1, 9):
            receipt = RECEIPT if order < 8 else None
            connection.execute("INSERT INTO orders VALUES (?, ?, ?)", (order, f"t{order}", receipt))
            if receipt:
                (tmp_path / "receipts" / f"{order}.txt").write_bytes(b"receipt")
    connection.close()
    return tmp_path


def failing(demo: ModuleType, shop: Path, *extra: object) -> list[str]:
    window = sys.modules["commands"].Window(began=8.5, frozen=8.6, thawing=8.9, ended=9.0)
    write = sys.modules["clients"].Write
    ledger = [write(f"t{n}", n, n + 0.1, n) for n in range(1, 9)]
    ledger += [write(f"t{n}", n + 0.5, n + 0.6, n) for n in range(9, 12)]
    ledger += [write(*each) for each in extra]
    return [proof.claim for proof in demo.prove(demo.read_state(shop), ledger, window) if not proof.holds]


def change(shop: Path, statement: str) -> None:
    connection = sqlite3.connect(shop / "shop.db")
    with connection:
        connection.execute(statement)
    connection.close()


def test_a_right_state_passes(demo: ModuleType, shop: Path) -> None:
    assert failing(demo, shop) == []


def test_a_lost_order_is_found(demo: ModuleType, shop: Path) -> None:
    change(shop, "DELETE FROM orders WHERE id = 8")
    assert failing(demo, shop)[0] == "every order acknowledged before the freeze began is there"


def test_an_order_too_many_is_found(demo: ModuleType, shop: Path) -> None:
    change(shop, "INSERT INTO orders VALUES (10, 't10', NULL)")
    assert "no order placed after the thaw is there" in failing(demo, shop)


def test_a_freeze_that_did_not_hold_is_found(demo: ModuleType, shop: Path) -> None:
    claims = failing(demo, shop, ("t12", 8.7, 8.8, 12))
    assert claims == ["no order was placed and acknowledged while everything was frozen"]


def test_a_gap_is_found(demo: ModuleType, shop: Path) -> None:
    change(shop, "UPDATE orders SET id = 20 WHERE id = 8")
    assert "the orders are a beginning of all orders, without a gap" in failing(demo, shop)


@pytest.mark.parametrize("harm", ["missing", "extra", "changed", "not entered"])
def test_files_that_disagree_with_the_database_are_found(demo: ModuleType, shop: Path, harm: str) -> None:
    receipt = shop / "receipts" / "3.txt"
    if harm == "missing":
        receipt.unlink()
    elif harm == "extra":
        (shop / "receipts" / "8.txt").write_bytes(b"receipt")
    elif harm == "changed":
        receipt.write_bytes(b"spoilt")
    else:
        change(shop, "UPDATE orders SET receipt = NULL WHERE id = 3")
    assert failing(demo, shop) == ["database and files agree"]
