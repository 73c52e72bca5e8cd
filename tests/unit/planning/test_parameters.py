"""Parameters: what is accepted, what is not, and what operations receive."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quiesce.errors import UnknownNameError, UsageError
from quiesce.model.consistency import Consistency
from quiesce.planning import WORKFLOWS, read_parameters

from .made import relaxed


def test_a_backup_without_a_name_is_named_after_the_time() -> None:
    assert read_parameters("backup", {}, now=1526472622.7).snapshot_name == "backup-1526472622"


def test_the_old_vocabulary_is_handed_on_even_when_it_was_not_given() -> None:
    raw = read_parameters("backup", {}, now=5.0).raw
    assert raw == {
        "snapshot_name": "backup-5",
        "snapshot_incremental": True,
        "snapshot_type": "irregular",
        "snapshot_rotation": 1,
    }


def test_what_was_given_is_handed_on_in_its_own_type() -> None:
    given_ = {"snapshot_incremental": "false", "parallel": "4", "include_nodes": "a, b", "max_freeze": "1.5m"}
    parameters = read_parameters("backup", given_, now=5.0)
    assert parameters.max_freeze_s == 90.0
    assert {name: parameters.raw[name] for name in given_} == {
        "snapshot_incremental": False,
        "parallel": 4,
        "include_nodes": ["a", "b"],
        "max_freeze": "1.5m",
    }


def test_a_custom_parameter_is_refused_unless_it_was_allowed() -> None:
    with pytest.raises(UnknownNameError, match="there is no parameter of backup 'colour'"):
        read_parameters("backup", {"colour": "red"}, now=0.0)
    assert read_parameters("backup", {"colour": "red"}, now=0.0, allow_custom=True).raw["colour"] == "red"


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("30", 30.0), (30, 30.0), (0.5, 0.5), ("250ms", 0.25), ("2 s", 2.0), ("1.5m", 90.0), ("1h", 3600.0)],
)
def test_durations_have_the_units_that_are_named(text: str | float, seconds: float) -> None:
    assert read_parameters("backup", {"max_freeze": text}, now=0.0).max_freeze_s == seconds


@pytest.mark.parametrize("text", ["", "30x", "s", "-1", "1d", "1e3", "0", "0s", "nan", True, None, [30]])
def test_a_duration_of_an_unknown_unit_is_refused_and_never_guessed(text: object) -> None:
    with pytest.raises(UsageError, match="parameter max_freeze"):
        read_parameters("backup", {"max_freeze": text}, now=0.0)  # type: ignore[dict-item]


@pytest.mark.parametrize("word", ["none", "crash", "filesystem", "APPLICATION"])
def test_classes_of_consistency_are_words(word: str) -> None:
    parameters = read_parameters("backup", {"min_consistency": word}, now=0.0)
    assert parameters.min_consistency is Consistency[word.upper()]


def test_restore_may_take_an_hour() -> None:
    assert read_parameters("restore", {"snapshot_name": "a"}, now=0.0).max_freeze_s == 3600.0


@relaxed
@given(name=st.text(max_size=200))
def test_a_snapshot_name_is_accepted_only_when_it_is_harmless_everywhere(name: str) -> None:
    try:
        accepted = read_parameters("backup", {"snapshot_name": name}, now=0.0).snapshot_name
    except UsageError:
        return
    assert accepted == name
    assert 1 <= len(name) <= 128
    assert name.isascii()
    assert name.isprintable()
    assert name[0].isalnum()
    assert ".." not in name
    assert not set(name) & set("/\\ '\"$`|&;<>*?!~#%(){}[]\n")


@relaxed
@given(
    workflow=st.sampled_from(sorted(WORKFLOWS)),
    values=st.dictionaries(
        st.sampled_from(
            ["parallel", "task_retries", "task_retry_interval", "operation_timeout", "include_nodes"]
        ),
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
            lambda inner: st.lists(inner, max_size=2),
            max_leaves=3,
        ),
    ),
)
def test_no_value_makes_anything_but_a_usage_error(workflow: str, values: dict[str, object]) -> None:
    base = {"snapshot_name": "one"} if workflow == "remove_backup" else {}
    try:
        parameters = read_parameters(workflow, {**base, **values}, now=0.0)  # type: ignore[dict-item]
    except UsageError:
        return
    assert parameters.parallel >= 1


@pytest.mark.parametrize(
    ("old", "ours"), [("include_node_types", "include_types"), ("exclude_node_types", "exclude_types")]
)
def test_the_old_plugins_names_of_selections_are_ours(old: str, ours: str) -> None:
    read = read_parameters("suspend", {old: ["cloudify.nodes.Compute"]}, now=0.0)
    assert getattr(read, ours) == ("cloudify.nodes.Compute",)
    assert old not in read.raw
    with pytest.raises(UsageError, match="are the same parameter"):
        read_parameters("suspend", {old: "a.Type", ours: "a.Type"}, now=0.0)


@pytest.mark.parametrize("name", ["include_kinds", "exclude_node", "include_instance"])
def test_a_selection_that_nobody_knows_is_refused_even_among_custom_parameters(name: str) -> None:
    """It would be ignored, and the workflow would run on everything."""
    with pytest.raises(UnknownNameError):
        read_parameters("remove_backup", {"snapshot_name": "one", name: "x"}, now=0.0, allow_custom=True)
