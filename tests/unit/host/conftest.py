"""The fixtures of the tests of the host provider."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from quiesce.ports import ProviderSettings
from quiesce.providers.host.provider import HostProvider

from .machine import Machine


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    settings = ProviderSettings(
        state_dir=str(tmp_path / "state"), repository_dir=str(tmp_path / "repository")
    )
    provider = HostProvider(settings)
    yield Machine(root=tmp_path, provider=provider)
    provider.close()
