"""What several integration tests need installed."""

from __future__ import annotations

from pathlib import Path

import pytest

from .cloudify_lab.lab import CannotInstallError, environment


@pytest.fixture(scope="module")
def cfy_place() -> Path:
    """Where cfy and the wheel of this tree are installed."""
    try:
        return environment()
    except CannotInstallError as error:
        pytest.skip(f"cfy 7.0.5 cannot be installed from the package index: {error}")
