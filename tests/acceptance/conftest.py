"""Fixtures of the acceptance tests; what they give is in `shop`."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Protocol

import pytest

from .shop import SHOP, SLOW_SHOP, CommandLine, Shop, eventually, open_shop

#: fixtures with a long history: one worker lives through it, for all tests that begin there
WITH_HISTORY = ("kept_shop", "held_shop", "saved_shop")
WEB = """
import sqlite3, sys, time
log = open(sys.argv[1] + "/log", "a")
database = sqlite3.connect(sys.argv[1] + "/orders.db", isolation_level=None, timeout=60)
database.execute("CREATE TABLE IF NOT EXISTS orders (item)")
while True:
    database.execute("INSERT INTO orders VALUES (1)")
    time.sleep(0.02)
"""

#: what else has happened to a shop before a test is given it
History = Callable[[CommandLine, Shop], None]


class Opener(Protocol):
    """Opens a shop; its *history* is lived through once, and then copied."""

    def __call__(self, quiesce: CommandLine, blueprint: str, history: History = ...) -> Shop: ...


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Keep tests together that begin with the same history."""
    for item in items:
        for name in WITH_HISTORY:
            if name in getattr(item, "fixturenames", ()):
                item.add_marker(pytest.mark.xdist_group(name))


@pytest.fixture
def quiesce(tmp_path: Path) -> Iterator[CommandLine]:
    """The command, with an empty home."""
    directory = tmp_path / "here"
    directory.mkdir()
    command_line = CommandLine(home=tmp_path / "home", directory=directory)
    yield command_line
    command_line.end()


@pytest.fixture
def shop_of_somebody(tmp_path: Path) -> Iterator[Path]:
    """A program that somebody runs here, unknown to quiesce."""
    data = tmp_path / "somebody" / "shop"
    data.mkdir(parents=True)
    orders = data / "orders.db"
    process = subprocess.Popen([sys.executable, "-c", WEB, str(data)], start_new_session=True)
    try:
        # as long as it is empty, nothing tells that it is a database
        eventually(lambda: orders.exists() and orders.stat().st_size > 0, "it has written")
        yield data
    finally:
        process.kill()
        process.wait()


@pytest.fixture(scope="session")
def opened(tmp_path_factory: pytest.TempPathFactory) -> Opener:
    """Opens a shop at the place where it was opened first, as it was then: what came before takes long."""
    root = tmp_path_factory.mktemp("shops")
    shops: dict[str, Shop] = {}

    def open_again(quiesce: CommandLine, blueprint: str, history: History = _nothing) -> Shop:
        name = f"{len(blueprint)}{history.__name__}"
        place = root / name
        pristine = place.with_suffix(".pristine")
        quiesce.home, quiesce.directory = place / "home", place / "here"
        if name not in shops:
            quiesce.directory.mkdir(parents=True)
            shop = open_shop(quiesce, blueprint)
            history(quiesce, shop)
            quiesce.end()
            shutil.copytree(place, pristine, symlinks=True)
            shops[name] = shop
        else:
            shutil.rmtree(place)
            shutil.copytree(pristine, place, symlinks=True)
        return shops[name]

    return open_again


def _nothing(quiesce: CommandLine, shop: Shop) -> None:
    """A shop that was just opened."""


@pytest.fixture
def shop(quiesce: CommandLine, opened: Opener) -> Shop:
    """A deployment that is backed up in no time."""
    return opened(quiesce, SHOP)


@pytest.fixture
def slow_shop(quiesce: CommandLine, opened: Opener) -> Iterator[Shop]:
    """A deployment whose cut lasts until there is a file ``go``."""
    found = opened(quiesce, SLOW_SHOP)
    yield found
    (found.directory / "go").touch()
