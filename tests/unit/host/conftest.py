"""The fixtures of the tests of the host provider."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from quiesce.ports import ProviderSettings
from quiesce.providers import host
from quiesce.providers.host.provider import HostProvider

from .machine import Machine, Node


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    settings = ProviderSettings(
        state_dir=str(tmp_path / "state"),
        repository=str(tmp_path / "repository"),
        keys_file=str(tmp_path / "keys"),
    )
    provider = HostProvider(settings)
    yield Machine(root=tmp_path, provider=provider)
    provider.close()


@pytest.fixture
def data(tmp_path: Path) -> Path:
    path = tmp_path / "srv" / "data"
    path.mkdir(parents=True)
    return path


@pytest.fixture
def node(data: Path) -> Node:
    return Node(host.DIRECTORY, path=str(data))
