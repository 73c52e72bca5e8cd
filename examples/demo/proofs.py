"""What must be true of a restored shop, checked against what its clients were told."""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from clients import Write
from commands import Window


@dataclass(frozen=True)
class Proof:
    """One claim, whether it holds, and on what it was tried."""

    claim: str
    holds: bool
    detail: str


@dataclass(frozen=True)
class State:
    """Everything that the shop stores."""

    #: order -> token, receipt's checksum or None
    orders: dict[int, tuple[str, str | None]]
    #: order -> checksum of the receipt's file
    receipts: dict[int, str]
    integrity: str


def read_state(data: Path) -> State:
    """Read the shop's data, without the shop."""
    database = sqlite3.connect(f"file:{data}/shop.db?mode=rw", uri=True)
    rows = database.execute("SELECT id, token, receipt FROM orders").fetchall()
    [[integrity]] = database.execute("PRAGMA integrity_check").fetchall()
    database.close()
    receipts = {
        int(path.stem): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in (data / "receipts").iterdir()
    }
    return State({order: (token, receipt) for order, token, receipt in rows}, receipts, integrity)


def prove(state: State, ledger: Sequence[Write], window: Window) -> Iterator[Proof]:
    """Yield every proof that *state* is exactly the shop at the cut, no more and no less."""
    stored = {token for token, _ in state.orders.values()}
    before = [write for write in ledger if write.acknowledged < window.began]
    after = [write for write in ledger if write.began > window.ended]
    meanwhile = [w for w in ledger if window.frozen < w.began and w.acknowledged < window.thawing]
    last = max(state.orders)

    missing = [write.token for write in before if write.token not in stored]
    yield Proof(
        "every order acknowledged before the freeze began is there",
        not missing and bool(before),
        f"{len(before)} orders, {len(missing)} missing",
    )
    extra = [write.token for write in after if write.token in stored]
    yield Proof(
        "no order placed after the thaw is there",
        not extra and bool(after),
        f"{len(after)} orders, {len(extra)} there",
    )
    yield Proof(
        "no order was placed and acknowledged while everything was frozen",
        not meanwhile,
        f"{window.thawing - window.frozen:.3f} s, {len(meanwhile)} orders",
    )
    wrong = [write for write in ledger if (write.order <= last) != (write.token in stored)]
    yield Proof(
        "the orders are a beginning of all orders, without a gap",
        sorted(state.orders) == list(range(1, last + 1)) and not wrong,
        f"orders 1 to {last}, {len(wrong)} out of place",
    )
    yield Proof("the database is sound", state.integrity == "ok", f"integrity_check: {state.integrity}")
    entered = {order: receipt for order, (_, receipt) in state.orders.items() if receipt is not None}
    yield Proof(
        "database and files agree",
        entered == state.receipts,
        f"{len(entered)} receipts entered, {len(state.receipts)} files, "
        f"{len(set(entered.items()) ^ set(state.receipts.items()))} differences",
    )
