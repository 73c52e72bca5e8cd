"""One precedence, one prefix, one set of words for every provider's options."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quiesce.errors import NonRecoverableError
from quiesce.model.ids import Json
from quiesce.model.options import option
from quiesce.provider_kit.options import read_options, read_values
from tests.unit.provider_kit.calls import a_call


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    chain: int = option(30, "how many increments may follow")
    skip: tuple[str, ...] = option((), "disks that are left out")
    where: str | None = option(None, "what is protected", per_node=True)
    frozen: bool = False


PLACES = ("acme_chain", "chain", "property")


@given(given=st.dictionaries(st.sampled_from(PLACES), st.integers(1, 99), min_size=1))
def test_the_first_place_that_says_anything_counts(given: dict[str, int]) -> None:
    inputs: dict[str, Json] = {name: value for name, value in given.items() if name != "property"}
    properties: dict[str, Json] = {"chain": given["property"]} if "property" in given else {}
    read = read_options(Options, "acme", a_call(inputs=inputs, properties=properties))
    assert read.chain == given[next(place for place in PLACES if place in given)]


def test_nothing_said_is_the_default_and_empty_says_nothing() -> None:
    read = read_options(Options, "acme", a_call(inputs={"acme_chain": "", "skip": None}), frozen=True)
    assert read == Options(frozen=True)


def test_words_of_a_command_line_are_understood() -> None:
    read = read_options(Options, "acme", a_call(inputs={"chain": "5", "skip": "vdb, vdc"}))
    assert (read.chain, read.skip) == (5, ("vdb", "vdc"))


@pytest.mark.parametrize("name", ["acme_where", "where"])
def test_what_is_protected_is_said_by_the_node_alone(name: str) -> None:
    call = a_call(inputs={"where": "/etc"}, properties={"where": "/srv"})
    assert read_options(Options, "acme", call).where == "/srv"
    if name == "acme_where":
        with pytest.raises(NonRecoverableError, match="no option 'where'"):
            read_options(Options, "acme", a_call(inputs={name: "/etc"}))


def test_a_planted_option_is_refused_and_the_options_are_named() -> None:
    with pytest.raises(NonRecoverableError, match="acme has no option 'chian'") as caught:
        read_options(Options, "acme", a_call(inputs={"acme_chian": 5}))
    assert "acme_chain" in caught.value.hint


def test_another_providers_options_are_none_of_ours() -> None:
    assert read_options(Options, "acme", a_call(inputs={"other_chain": "x", "colour": 1})) == Options()


@pytest.mark.parametrize("value", ["many", -1, True, [5]])
def test_a_wrong_value_names_its_place_and_what_is_right(value: Json) -> None:
    with pytest.raises(NonRecoverableError, match=r"chain of vm_1: .* is not a whole number"):
        read_options(Options, "acme", a_call(properties={"chain": value}))


def test_a_mapping_of_options_takes_them_and_nothing_else() -> None:
    assert read_values(Options, "process", {"chain": 2}).chain == 2
    with pytest.raises(NonRecoverableError, match="process has no 'chian'"):
        read_values(Options, "process", {"chian": 2})
