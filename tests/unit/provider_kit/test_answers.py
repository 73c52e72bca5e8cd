"""Answers of another shape end in one error of ours, whichever platform gave them."""

from __future__ import annotations

import pytest

from quiesce.errors import NonRecoverableError, ResourceNotFoundError
from quiesce.provider_kit.answers import AnswerReader

ANSWERS = AnswerReader(platform="Cloud", hint="Look at the proxy.")


@ANSWERS.understood("a machine")
def name_of(raw: dict[str, str]) -> str:
    """Return its name in capitals."""
    if not raw:
        raise ResourceNotFoundError("there is no machine")
    return raw["name"].upper()


@pytest.mark.parametrize("raw", [{"id": "x"}, {"name": 3}, [1], "<html>"])
def test_another_shape_is_an_error_that_says_about_what(raw: dict[str, str]) -> None:
    with pytest.raises(
        NonRecoverableError, match=r"about a machine .* is not what Cloud would say"
    ) as caught:
        name_of(raw)
    assert caught.value.hint == "Look at the proxy."


def test_what_is_right_and_errors_of_ours_pass() -> None:
    assert name_of({"name": "web"}) == "WEB"
    with pytest.raises(ResourceNotFoundError):
        name_of({})
