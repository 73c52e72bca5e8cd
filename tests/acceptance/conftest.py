"""Fixtures of the acceptance tests; what they give is in `shop`."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from .shop import SHOP, SLOW_SHOP, CommandLine, Shop, open_shop

Opener = Callable[[CommandLine, str], Shop]


@pytest.fixture
def quiesce(tmp_path: Path) -> Iterator[CommandLine]:
    """The command, with an empty home."""
    directory = tmp_path / "here"
    directory.mkdir()
    command_line = CommandLine(home=tmp_path / "home", directory=directory)
    yield command_line
    command_line.end()


@pytest.fixture(scope="session")
def opened(tmp_path_factory: pytest.TempPathFactory) -> Opener:
    """Opens a shop at the place where it was opened first, as it was then: `init` runs once for all."""
    root = tmp_path_factory.mktemp("shops")
    shops: dict[str, Shop] = {}

    def open_again(quiesce: CommandLine, blueprint: str) -> Shop:
        place = root / str(len(blueprint))
        pristine = place.with_suffix(".pristine")
        quiesce.home, quiesce.directory = place / "home", place / "here"
        if blueprint not in shops:
            quiesce.directory.mkdir(parents=True)
            shops[blueprint] = open_shop(quiesce, blueprint)
            shutil.copytree(place, pristine)
        else:
            shutil.rmtree(place)
            shutil.copytree(pristine, place)
        return shops[blueprint]

    return open_again


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
