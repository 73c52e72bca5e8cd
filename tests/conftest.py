"""What holds for every test, however many run side by side."""

from __future__ import annotations

import os

import pytest
from hypothesis import HealthCheck, settings

#: platforms of which there is one, with one state: their tests run one after the other, in one worker
SHARED_LABS = ("libvirt", "openstack")

# what chance finds is looked for at night; a commit is judged by the same examples each time, however slow
settings.register_profile(
    "quiesce",
    deadline=None,
    derandomize=os.environ.get("QUIESCE_SIZE") != "nightly",
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("quiesce")

# the processes that tests start are many and short: each would compile every module anew
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Keep the tests of a shared lab together."""
    for item in items:
        for mark in item.iter_markers("platform"):
            if mark.args[0] in SHARED_LABS:
                item.add_marker(pytest.mark.xdist_group(mark.args[0]))
