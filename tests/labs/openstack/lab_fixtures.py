"""What every test on the OpenStack lab needs."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from lab import Lab, lab_directory

NEEDS_LAB = [
    pytest.mark.skipif(lab_directory() is None, reason="needs the OpenStack lab: make lab-openstack"),
    pytest.mark.slow,
    pytest.mark.timeout(900),
    pytest.mark.filterwarnings("ignore::PendingDeprecationWarning"),
]


def empty_lab() -> Iterator[Lab]:
    """Give the lab, empty before and after; to be made a fixture."""
    directory = lab_directory()
    assert directory is not None
    lab = Lab(directory)
    lab.wipe()
    yield lab
    lab.wipe()
