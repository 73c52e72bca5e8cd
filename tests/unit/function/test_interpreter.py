"""Which Python calls the functions of Cloudify plugins."""

from __future__ import annotations

import sys

import pytest

from quiesce.errors import PlanError
from quiesce.providers.function.interpreter import find_python


def test_the_setting_wins() -> None:
    assert find_python({"QUIESCE_CLOUDIFY_PYTHON": sys.executable}) == sys.executable


def test_a_wrong_setting_is_named() -> None:
    with pytest.raises(PlanError, match="/nowhere/python"):
        find_python({"QUIESCE_CLOUDIFY_PYTHON": "/nowhere/python"})


def test_without_any_it_is_said_what_to_install() -> None:
    with pytest.raises(PlanError, match="cloudify-common is not installed") as caught:
        find_python({})
    assert "quiesce[cloudify]" in caught.value.hint
