"""quiesce touches what it made for this restore point, and nothing else."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quiesce.errors import ForeignObjectError, NonRecoverableError
from quiesce.model.call import Call
from quiesce.provider_kit.ownership import (
    NameRule,
    Owner,
    claim,
    digest,
    is_removable,
    made_by,
    made_for,
    maker_of,
    point_of,
)
from tests.unit.provider_kit.calls import a_call

text = st.text(st.characters(codec="ascii", exclude_categories=["C"]), min_size=1, max_size=40)
owners = st.builds(Owner, deployment=text, instance=text, point=text, execution=text)


def call_of(owner: Owner, *, undo: bool = False) -> Call:
    return a_call(
        deployment=owner.deployment,
        instance=owner.instance,
        point=owner.point,
        execution=owner.execution,
        undo=undo,
    )


@given(owners, owners, st.booleans())
def test_only_what_the_same_four_names_made_is_claimed_and_undone(
    mine: Owner, other: Owner, in_short: bool
) -> None:
    """Whether a mark is kept in full or in two digests, the answers are the same."""
    found = other.key if in_short else other
    same_point = (mine.deployment, mine.instance, mine.point) == (
        other.deployment,
        other.instance,
        other.point,
    )
    assert made_for(call_of(mine), found) is same_point
    assert made_by(call_of(mine), found) is (mine == other)
    assert is_removable(call_of(mine), found) is same_point
    assert is_removable(call_of(mine, undo=True), found) is (mine == other)


@given(owners, text)
def test_a_mark_is_read_as_it_was_written_and_half_of_one_is_none(owner: Owner, prefix: str) -> None:
    mark = owner.as_mark(prefix)
    assert Owner.read(prefix, {**mark, "colour": "red"}) == owner
    for name in mark:
        assert Owner.read(prefix, {key: value for key, value in mark.items() if key != name}) is None


def test_what_has_no_mark_is_nobodys_to_remove() -> None:
    for undo in (False, True):
        assert not is_removable(a_call(undo=undo), None)


def test_a_claim_names_who_made_it() -> None:
    call = a_call()
    claim(call, Owner.of(call), "disk d1")
    with pytest.raises(ForeignObjectError, match=r"disk d1 .* made by somebody else"):
        claim(call, None, "disk d1")
    with pytest.raises(ForeignObjectError, match="by execution backup-0 of shop"):
        claim(call, Owner.of(a_call(execution="backup-0")), "disk d1")
    with pytest.raises(ForeignObjectError, match="by another execution"):
        claim(call, Owner.of(a_call(execution="backup-0")).key, "disk d1")


def test_a_call_about_no_restore_point_owns_nothing() -> None:
    with pytest.raises(NonRecoverableError, match="needs the name of a restore point"):
        point_of(a_call(point=None))


def test_an_undo_is_limited_to_its_execution() -> None:
    assert maker_of(a_call(undo=True)) == "backup-1"
    assert maker_of(a_call()) is None


RULES = [
    NameRule(longest=80),
    NameRule(longest=63, illegal="[^a-z0-9]", lower_case=True),
    NameRule(longest=63, illegal="[^a-z0-9]", lower_case=True, always_digest=True),
]


@pytest.mark.parametrize("rule", RULES)
@given(parts=st.lists(text, min_size=1, max_size=4))
def test_a_name_is_legal_and_always_the_same(rule: NameRule, parts: list[str]) -> None:
    name = rule.name(*parts)
    assert name == rule.name(*parts)
    assert 0 < len(name) <= rule.longest
    if rule.lower_case:
        assert re.fullmatch("[a-z0-9-]+", name)


@given(st.lists(text, min_size=2, max_size=4), st.lists(text, min_size=2, max_size=4))
def test_names_with_digests_differ_when_any_part_does(one: list[str], other: list[str]) -> None:
    rule = RULES[2]
    assert (rule.name(*one) == rule.name(*other)) is (one == other)


def test_a_digest_tells_where_one_part_ends() -> None:
    assert digest("a-b", "c") != digest("a", "b-c")
    assert NameRule(longest=63, always_digest=True).name("a-b", "c") != NameRule(
        longest=63, always_digest=True
    ).name("a", "b-c")


def test_a_long_name_is_cut_and_stays_different() -> None:
    rule = NameRule(longest=30)
    assert rule.name("vm_1", "x" * 40) != rule.name("vm_1", "x" * 41)


@given(st.lists(text, min_size=1, max_size=4))
def test_a_name_begins_with_a_letter_where_it_must(parts: list[str]) -> None:
    rule = NameRule(longest=63, illegal="[^a-z0-9]", lower_case=True, letter="q")
    assert re.fullmatch("[a-z](?:[a-z0-9-]{0,61}[a-z0-9])?", rule.name(*parts))
    assert rule.name("9lives") != rule.name("q-9lives")
