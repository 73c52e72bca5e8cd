"""A provider whose SDK is missing says how to install it."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from quiesce.errors import PlanError
from quiesce.model.capabilities import Description
from quiesce.providers.registry import Providers, describe_providers

PROJECT = Path(__file__).parents[3] / "pyproject.toml"


@pytest.mark.parametrize("description", describe_providers(), ids=lambda each: each.name)
def test_every_extra_that_a_provider_names_is_one_of_ours(description: Description) -> None:
    extras = tomllib.loads(PROJECT.read_text())["project"]["optional-dependencies"]
    assert description.extra is None or description.extra in extras


def test_the_hint_is_a_command_that_a_shell_takes() -> None:
    """The extra is named once, and in quotes: brackets mean something to a shell."""
    description = Description(name="acme", factory="no_such_package.provider:Provider", extra="libvirt")
    with pytest.raises(PlanError) as caught:
        Providers([description], {}).get("acme")
    assert caught.value.hint == "Install what is missing: pip install 'quiesce[libvirt]'"
