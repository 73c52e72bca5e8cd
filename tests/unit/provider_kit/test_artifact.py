"""Artifacts come back as they were written, or are refused."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quiesce.errors import DamagedArtifactError, ResourceNotFoundError
from quiesce.model.consistency import Consistency
from quiesce.model.ids import Json
from quiesce.provider_kit.artifact import artifact_of, as_artifact, read_artifact
from tests.unit.provider_kit.calls import a_call


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    name: str
    size_bytes: int
    boot: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Whole:
    parts: tuple[Part, ...]
    rate: float = 1.0
    raw: Mapping[str, Json] = field(default_factory=dict)
    base: str | None = None
    worth: Consistency = Consistency.CRASH


wholes = st.builds(
    Whole,
    parts=st.lists(st.builds(Part, name=st.text(), size_bytes=st.integers(), boot=st.booleans())).map(tuple),
    rate=st.floats(allow_nan=False, allow_infinity=False),
    raw=st.dictionaries(st.text(), st.none() | st.integers() | st.lists(st.text())),
    base=st.none() | st.text(),
    worth=st.sampled_from(Consistency),
)


@given(wholes)
def test_what_was_written_is_read_after_a_trip_through_json(whole: Whole) -> None:
    assert read_artifact(Whole, json.loads(json.dumps(as_artifact(whole)))) == whole


def test_unknown_fields_are_passed_over_and_missing_ones_have_their_default() -> None:
    assert read_artifact(Whole, {"parts": [], "colour": "red"}) == Whole(parts=())


@pytest.mark.parametrize(
    "damaged",
    [
        {},
        {"parts": None},
        {"parts": [{"name": "vda"}]},
        {"parts": [{"name": "vda", "size_bytes": "5"}]},
        {"parts": [{"name": 5, "size_bytes": 5}]},
        {"parts": [{"name": "vda", "size_bytes": True}]},
        {"parts": [{"name": "vda", "size_bytes": 5, "boot": "yes"}]},
        {"parts": ["vda"]},
        {"parts": [], "worth": 17},
    ],
)
def test_what_is_not_that_is_damaged(damaged: Mapping[str, Json]) -> None:
    with pytest.raises(DamagedArtifactError):
        read_artifact(Whole, damaged)


def test_a_lost_answer_is_not_a_damaged_one() -> None:
    with pytest.raises(ResourceNotFoundError, match="what nightly holds for vm_1"):
        artifact_of(a_call(artifact=None))
