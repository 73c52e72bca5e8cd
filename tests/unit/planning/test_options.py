"""Options of providers are looked at before anything runs."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, replace

import pytest

from quiesce.errors import PlanError, UnknownNameError, UsageError
from quiesce.model.ids import Json
from quiesce.model.options import option, options_of
from quiesce.planning import declared_options, idle_options, plan_workflow, read_parameters
from tests.unit.planning.made import ACME, SCRIPT, node, topology


class Mode(enum.StrEnum):
    FULL = "full"
    INCREMENTAL = "incremental"


@dataclass(frozen=True, slots=True, kw_only=True)
class AcmeOptions:
    mode: Mode = option(Mode.FULL, "what is copied")
    skip_disks: tuple[str, ...] = option((), "disks that are left out")
    chain: int | None = option(None, "how many may follow")
    path: str | None = option(None, "what is protected", per_node=True)


WITH_OPTIONS = replace(ACME, options=AcmeOptions)
OPTIONS = declared_options([WITH_OPTIONS, SCRIPT])


def parameters(given: Mapping[str, Json]) -> None:
    read_parameters("backup", given, now=0.0, options=OPTIONS)


def test_an_option_is_given_by_its_name_or_with_its_providers() -> None:
    read = read_parameters(
        "backup", {"mode": "incremental", "acme_skip_disks": "vdb"}, now=0.0, options=OPTIONS
    )
    assert read.raw["mode"] == "incremental"
    assert read.raw["acme_skip_disks"] == "vdb"


def test_a_planted_option_is_refused_and_what_was_meant_is_named() -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'acme_chain'"):
        parameters({"acme_chian": 3})


def test_an_option_that_says_what_is_protected_is_no_parameter() -> None:
    with pytest.raises(UnknownNameError):
        parameters({"acme_path": "/etc"})
    with pytest.raises(UnknownNameError):
        parameters({"path": "/etc"})


@pytest.mark.parametrize("given", [{"mode": "Full"}, {"acme_chain": "many"}, {"skip_disks": 5}])
def test_a_wrong_value_is_refused_and_the_right_ones_are_named(given: Mapping[str, Json]) -> None:
    with pytest.raises(UsageError, match=f"parameter {next(iter(given))}: .* is not "):
        parameters(given)


def test_a_wrong_property_is_refused_before_anything_runs() -> None:
    where = topology(
        [node("vm", kind="acme.Machine", operations=(), properties={"mode": "quick", "chain": True})]
    )
    with pytest.raises(PlanError, match=r"vm\.mode: 'quick' is not one of full, incremental; vm\.chain"):
        plan_workflow("suspend", where, [WITH_OPTIONS, SCRIPT], read_parameters("suspend", {}, now=0.0))


def test_a_property_that_only_a_live_deployment_knows_is_left_to_the_provider() -> None:
    properties: Mapping[str, Json] = {"mode": {"get_attribute": ["vm", "mode"]}}
    where = topology([node("vm", kind="acme.Machine", operations=(), properties=properties)])
    plan = plan_workflow("suspend", where, [WITH_OPTIONS], read_parameters("suspend", {}, now=0.0))
    assert plan.steps


def test_an_option_that_nobody_taking_part_has_is_told() -> None:
    described = [WITH_OPTIONS, SCRIPT]
    assert idle_options(["mode", "max_freeze"], ["script"], described, own=()) == [
        "mode has no effect: no node that takes part has this option"
    ]
    assert not idle_options(["mode"], ["acme"], described, own=())


def test_a_parameter_of_the_workflow_is_for_everybody_though_a_provider_has_an_option_of_its_name() -> None:
    """`apply_network` is a property of libvirt's networks too; OpenStack's are put back by the parameter."""

    @dataclass(frozen=True, slots=True, kw_only=True)
    class NetworkOptions:
        apply_network: bool = option(False, "put it back")

    described = [replace(ACME, options=NetworkOptions), SCRIPT]
    assert not idle_options(["apply_network"], ["script"], described, own=["apply_network"])
    assert idle_options(["apply_network"], ["script"], described, own=[])


def test_defaults_are_written_as_an_operator_would() -> None:
    assert [each.default_text for each in options_of(AcmeOptions)] == ["full", "", "", ""]
