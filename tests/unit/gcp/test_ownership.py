"""Names are legal and tell what they stand for; labels tell whose an object is."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quiesce.errors import NonRecoverableError
from quiesce.providers.gcp.ownership import LABEL_VALUES, NAMES
from quiesce.providers.gcp.references import Reference, parse
from quiesce.providers.gcp.target import legal_name

LEGAL = re.compile(r"[a-z](?:[-a-z0-9]{0,61}[a-z0-9])?")


@given(st.lists(st.text(max_size=80), min_size=1, max_size=5))
def test_a_made_name_is_always_legal(parts: list[str]) -> None:
    assert LEGAL.fullmatch(NAMES.name(*parts))


@given(st.text(max_size=90), st.text(max_size=90))
def test_different_texts_have_different_names(one: str, other: str) -> None:
    assert (NAMES.name(one) == NAMES.name(other)) == (one == other)


def test_parts_are_not_run_together() -> None:
    assert NAMES.name("a-b", "c") != NAMES.name("a", "b-c")
    assert NAMES.name("Web", "one") != NAMES.name("web", "one")


@given(st.text(max_size=90))
def test_a_label_value_is_always_legal(text: str) -> None:
    assert re.fullmatch(r"[a-z0-9_-]{0,63}", LABEL_VALUES.name(text))


def test_label_values_that_had_to_be_changed_stay_apart() -> None:
    assert LABEL_VALUES.name("exec-1") == "exec-1"
    assert LABEL_VALUES.name("Exec-1") != LABEL_VALUES.name("exec-1")
    assert LABEL_VALUES.name("x" * 64) != LABEL_VALUES.name("x" * 65)


@pytest.mark.parametrize(
    ("instance", "name"),
    [
        ("host_ab12cd", "host-ab12cd"),
        ("9lives_x", "a9lives-x"),
        ("Big.Host_x_", "bighost-x"),
        ("h" * 70 + "_abcdef", "h" * 57 + "abcdef"),
    ],
)
def test_an_unnamed_resource_has_the_name_that_the_official_plugin_gives(instance: str, name: str) -> None:
    assert legal_name(instance) == name


@pytest.mark.parametrize(
    "url",
    [
        "projects/p/zones/us-central1-a/disks/d",
        "https://compute.googleapis.com/compute/v1/projects/p/zones/us-central1-a/disks/d",
        "https://www.googleapis.com/compute/v1/projects/p/zones/us-central1-a/disks/d",
    ],
)
def test_full_and_partial_urls_mean_the_same(url: str) -> None:
    assert parse(url).path == "projects/p/zones/us-central1-a/disks/d"


@pytest.mark.parametrize(
    "url",
    [
        "projects/p/zones/us-central1-a/disks/../instances/x",
        "projects/p/zones/us-central1-a/disks/UPPER",
        "projects/p/zones/a b/disks/d",
        "projects/P p/zones/us-central1-a/disks/d",
        "projects/p/zones/us-central1-a/firewalls/d",
        "projects/p/global/instances/x",
        "disks/d",
        "",
    ],
)
def test_what_is_no_resource_is_refused(url: str) -> None:
    with pytest.raises(NonRecoverableError):
        parse(url)


def test_a_name_that_would_change_the_request_is_refused() -> None:
    with pytest.raises(NonRecoverableError):
        Reference(project="p", scope="zones/z", collection="disks", name="d/../../x")
    with pytest.raises(NonRecoverableError):
        Reference(project="p", scope="zones/z", collection="disks", name="d" * 64)
