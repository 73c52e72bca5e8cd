"""YAML is read safely, with places, and bounded."""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from quiesce.blueprint.reading.problems import InvalidBlueprintError, Position, Problem
from quiesce.blueprint.reading.source_map import key_position, plain, value_position
from quiesce.blueprint.reading.yaml_text import MAX_BYTES, MAX_DEPTH, parse_yaml


def read(text: str) -> Any:
    return parse_yaml(text.encode(), "f.yaml")


def refusal(text: str) -> str:
    with pytest.raises(InvalidBlueprintError) as caught:
        read(text)
    return str(caught.value)


def test_a_key_and_its_value_know_their_places() -> None:
    """Lines and columns count from one."""
    value = read("a:\n  - b: c\n")
    assert key_position(value, "a") == Position("f.yaml", 1, 1)
    assert value_position(value["a"], 0) == Position("f.yaml", 2, 5)
    assert value_position(value["a"][0], "b") == Position("f.yaml", 2, 8)


def test_an_empty_text_is_an_empty_map() -> None:
    """A file of comments only is no error."""
    assert read("# nothing\n") == {}


def test_a_key_given_twice_is_refused_with_both_places() -> None:
    """All duplicates of a file are told at once."""
    assert refusal("a: 1\nb: {c: 1, c: 2}\na: 2\n").splitlines()[1:] == [
        "f.yaml:2:11: the key 'c' was already given in line 2; keep one of them",
        "f.yaml:3:1: the key 'a' was already given in line 1; keep one of them",
    ]


def test_a_merged_key_may_be_overridden() -> None:
    """Own keys win over merged ones, and several merges are fine."""
    value = read(
        "x: &x {a: 1, b: 2}\ny: &y {b: 3, c: 4}\nz:\n  <<: *x\n  <<: *y\n  c: 5\nv: {<<: [*x, *y]}\n"
    )
    assert value["z"] == {"a": 1, "b": 3, "c": 5}
    assert value["v"] == {"a": 1, "b": 2, "c": 4}


def test_a_quoted_merge_sign_is_a_key() -> None:
    """Only the plain sign merges."""
    assert read('{"<<": {a: 1}}') == {"<<": {"a": 1}}


def test_a_yaml_bomb_is_refused() -> None:
    """Aliases cannot make a small file stand for a large value."""
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{level}: &a{level} [{', '.join([f'*a{level - 1}'] * 10)}]" for level in range(1, 12)]
    assert "aliases make this file stand for more than" in refusal("\n".join(lines))


def test_an_anchor_that_contains_itself_is_refused() -> None:
    """Values are trees."""
    assert "the anchor 'a' contains itself" in refusal("a: &a [*a]")


@pytest.mark.parametrize("opening", ["[", "{a: ", "- "])
def test_values_nested_too_deep_are_refused(opening: str) -> None:
    """A deep file cannot exhaust the stack."""
    assert f"nested more than {MAX_DEPTH} deep" in refusal(opening * (MAX_DEPTH + 1) + "x")


@pytest.mark.parametrize(
    "tag", ["!!python/object/apply:os.system", "!!python/name:os.system", "!!set", "!own"]
)
def test_a_tag_that_makes_objects_is_refused(tag: str) -> None:
    """Only plain values are read."""
    assert "is not allowed" in refusal(f"a: {tag} {{}}")


def test_a_file_that_is_too_large_is_refused_before_it_is_parsed() -> None:
    """The size counts, whatever is in it."""
    with pytest.raises(InvalidBlueprintError, match="more than 8 MiB"):
        parse_yaml(b"[" * (MAX_BYTES + 1), "f.yaml")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: b: c", "f.yaml:1:5: this is not valid YAML"),
        ("a: 1\n---\nb: 2", "f.yaml:2:1: a second document begins here"),
        ("? [a]\n: b", "f.yaml:1:3: a key cannot be a mapping or a list"),
        ("a: *b", "f.yaml:1:4: the anchor 'b' is not defined before this line"),
        ("a: 2001-99-99", "f.yaml:1:4: '2001-99-99' is not a valid timestamp"),
        ("a: \x01", "control characters are not allowed"),
    ],
)
def test_a_syntax_error_names_its_place(text: str, message: str) -> None:
    """Line and column come with every refusal."""
    assert message in refusal(text)


@given(
    st.recursive(
        st.none()
        | st.booleans()
        | st.integers()
        | st.floats(allow_nan=False)
        | st.text("ab :-#'\n", max_size=5),
        lambda inner: (
            st.lists(inner, max_size=3) | st.dictionaries(st.text("xyz", max_size=2), inner, max_size=3)
        ),
        max_leaves=8,
    )
)
def test_what_a_safe_loader_reads_we_read(value: Any) -> None:
    """Values are those of PyYAML's safe loader."""
    text = yaml.safe_dump(value)
    assert plain(read(text)) == (yaml.safe_load(text) if value is not None else None)


def test_of_very_many_problems_the_first_are_told() -> None:
    """A file of 8 MiB had 180,000, and all of them went over the terminal."""
    many = [Problem(position=Position("f.yaml", line + 1), what="wrong") for line in range(250)]
    error = InvalidBlueprintError(many)
    assert str(error).splitlines()[0] == "250 problems:"
    assert str(error).splitlines()[-1] == "and 150 more"
    assert len(error.problems) == 250
