"""The shop's database: one table of orders."""

import sqlite3
from pathlib import Path

SCHEMA = """
CREATE TABLE IF NOT EXISTS orders (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    token TEXT NOT NULL UNIQUE,
    receipt TEXT  -- checksum of the receipt's file, once the worker has written it
)
"""


def connect(root: Path) -> sqlite3.Connection:
    """Open the database; whoever finds it locked waits."""
    return sqlite3.connect(f"file:{root}/data/shop.db?mode=rw", uri=True, timeout=30, isolation_level=None)


def create(root: Path) -> None:
    """Make an empty database where there is none."""
    (root / "data" / "receipts").mkdir(parents=True, exist_ok=True)
    connection = sqlite3.connect(root / "data" / "shop.db")
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute(SCHEMA)
    connection.close()
