"""A blueprint's regular expression answers, or is refused, in bounded time."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quiesce.blueprint.checking import patterns
from quiesce.blueprint.checking.constraints import Constraint


@pytest.mark.timeout(60)
@pytest.mark.parametrize("pattern", ["(a+)+$", "(a|aa)+$", "(a?){40}a{40}$", "a*a*a*a*a*a*a*b"])
def test_a_pattern_that_would_run_for_ever_is_a_violation(
    pattern: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(patterns, "MATCH_S", 0.5)
    violation = Constraint(name="pattern", argument=pattern).violation("a" * 3000 + "!")
    assert violation is not None
    assert "could not be matched" in violation or "violates" in violation


@pytest.mark.parametrize(
    ("pattern", "value"),
    [("(ab)+$", "ababab"), ("(ab)+$", "aba"), (r"[a-z]{2,4}-\d+", "eu-12"), ("a*b*c*", "é"), ("(x)?y", "y")],
)
def test_other_patterns_answer_as_before(pattern: str, value: str) -> None:
    assert patterns.matches(pattern, value) is (re.match(pattern, value) is not None)


@given(st.text(max_size=20))
def test_plain_values_are_matched_here(value: str) -> None:
    assert patterns.matches("[a-z]+[0-9]*", value) is (re.match("[a-z]+[0-9]*", value) is not None)
