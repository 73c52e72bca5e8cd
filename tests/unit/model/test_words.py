"""The words that parameters and options are written in."""

from __future__ import annotations

import enum

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quiesce.model import words
from quiesce.model.ids import Json

anything: st.SearchStrategy[Json] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)
READERS = [
    words.read_flag,
    words.read_text,
    words.read_absolute_path,
    words.whole_number(-1, 10**6),
    words.read_seconds,
    words.read_positive_seconds,
    words.read_names,
    words.read_mapping,
    words.one_of(enum.StrEnum("Colour", ["RED", "BLUE"])),
]


@pytest.mark.parametrize("reader", READERS)
@given(value=anything)
def test_a_reader_takes_a_value_or_says_what_would_be_right(reader: object, value: Json) -> None:
    """Nothing else than `WrongValueError` leaves a reader, and its message stays short."""
    wrong = None
    try:
        reader(value)  # type: ignore[operator]
    except words.WrongValueError as error:
        wrong = error
    assert wrong is None or (wrong.right and len(str(wrong)) < 400)


@pytest.mark.parametrize(
    ("value", "right"),
    [(True, True), ("true", True), ("YES", True), (False, False), ("no", False), ("False", False)],
)
def test_a_flag_is_the_same_typed_and_written(value: Json, right: bool) -> None:
    assert words.read_flag(value) is right


@pytest.mark.parametrize("value", [1, 0, "1", "on", "", None, [], "truee"])
def test_what_only_looks_like_a_flag_is_refused(value: Json) -> None:
    with pytest.raises(words.WrongValueError):
        words.read_flag(value)


@pytest.mark.parametrize(("value", "right"), [("5", 5), (5, 5), ("-1", -1)])
def test_a_number_is_the_same_typed_and_written(value: Json, right: int) -> None:
    assert words.whole_number(-1, 5)(value) == right


@pytest.mark.parametrize("value", [6, "6", -2, True, 5.0, "5.0", "٣", "", None, "9" * 30])
def test_a_number_out_of_bounds_or_of_another_kind_is_refused(value: Json) -> None:
    with pytest.raises(words.WrongValueError, match="from -1 to 5"):
        words.whole_number(-1, 5)(value)


@given(st.lists(st.text(st.characters(categories=["L", "N"]), min_size=1), min_size=1))
def test_names_are_the_same_as_a_list_and_with_commas(names: list[str]) -> None:
    assert words.read_names(list(names)) == words.read_names(",".join(names)) == tuple(names)


@pytest.mark.parametrize("value", ["a,,b", "", ["a", ""], ["a", 1], 5, {"a": 1}])
def test_names_that_are_none_are_refused(value: Json) -> None:
    with pytest.raises(words.WrongValueError):
        words.read_names(value)


@pytest.mark.parametrize("value", ["backups", "./backups", "/a/../b", "/a/..", "", "/a\n", 5, None])
def test_a_path_that_depends_on_where_one_stands_is_refused(value: Json) -> None:
    with pytest.raises(words.WrongValueError, match=r"absolute|printable"):
        words.read_absolute_path(value)
    assert words.read_absolute_path("/srv/a..b") == "/srv/a..b"


@pytest.mark.parametrize("value", [True, 12, None, ["x"]])
def test_what_json_took_for_something_else_is_told_to_be_quoted(value: object) -> None:
    with pytest.raises(words.WrongValueError, match="quote what JSON would take"):
        words.read_text(value)  # type: ignore[arg-type]
    assert words.read_text("true") == "true"
