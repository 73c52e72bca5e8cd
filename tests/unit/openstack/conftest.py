"""What the unit tests of the OpenStack provider share."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

pytest.importorskip("openstack", reason="needs the Python package openstacksdk (quiesce[openstack])")
sys.path.insert(0, str(Path(__file__).parent))

from fake_openstack import FakeOpenStack
from hands import Hands


@pytest.fixture
def cloud() -> FakeOpenStack:
    """An empty cloud."""
    return FakeOpenStack()


@pytest.fixture
def hands(cloud: FakeOpenStack) -> Hands:
    """Performs operations on it."""
    return Hands(cloud)
