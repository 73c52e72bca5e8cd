"""The modules that Cloudify imports for a provider's operations."""

from __future__ import annotations

from importlib.util import find_spec

import pytest

from quiesce.cloudify.operations import spec_of
from quiesce.provider_kit.installed import installed_providers


@pytest.mark.parametrize("name", [each.description.name for each in installed_providers()])
def test_every_installed_provider_has_its_module(name: str) -> None:
    """It is found below quiesce, made from the entry point; what it needs is imported with it."""
    found = find_spec(f"quiesce.{name}")
    assert found is not None
    assert found.origin is None


@pytest.mark.parametrize("name", ["nothing", "host.nothing", "HOST"])
def test_there_is_no_module_of_what_is_not_installed(name: str) -> None:
    """A misspelt import stays an error."""
    assert spec_of(f"quiesce.{name}") is None
    with pytest.raises(ImportError):
        __import__(f"quiesce.{name}")


def test_files_of_the_package_come_first() -> None:
    """A provider cannot take the place of one of our own modules."""
    found = find_spec("quiesce.model")
    assert found is not None
    assert found.origin is not None
