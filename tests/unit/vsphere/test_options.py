"""What may be chosen for a machine: by parameter, by input, by property, and nothing else."""

from __future__ import annotations

from collections.abc import Callable
from importlib.resources import files
from typing import Any

import pytest
import yaml
from tests.repository_objects import points

from quiesce.errors import NonRecoverableError
from quiesce.model.operation import Operation
from quiesce.model.options import Option, options_of
from quiesce.providers.vsphere.options import VSphereOptions

Options = Callable[..., dict[str, Any]]

TYPES = yaml.safe_load((files("quiesce.providers.vsphere") / "node_types.yaml").read_text())["node_types"]
PROPERTIES = TYPES["quiesce.nodes.vsphere.Server"]["properties"]


@pytest.mark.parametrize("option", options_of(VSphereOptions), ids=lambda option: option.name)
def test_every_option_is_a_property_of_our_own_type(option: Option) -> None:
    """A property that nobody sets says what the option's default says."""
    default = PROPERTIES[option.name].get("default")
    assert (option.default if default is None else option.read(default)) == option.default


@pytest.mark.parametrize("name", ["vsphere_quiesce", "quiesce"])
def test_a_parameter_may_name_the_provider_or_leave_it_out(site: Any, name: str) -> None:
    assert "vsphere_quiesce is never" in site.perform(Operation.SNAPSHOT, inputs={name: "never"}).note


def test_an_option_that_there_is_not_is_refused_with_those_that_there_are(site: Any) -> None:
    with pytest.raises(NonRecoverableError, match="no option 'quiese'") as caught:
        site.perform(Operation.SNAPSHOT, inputs={"vsphere_quiese": "never"})
    assert "vsphere_quiesce" in caught.value.hint
    assert not site.world.cuts


def test_nothing_that_is_given_for_one_execution_names_another_repository(site: Any, tmp_path: Any) -> None:
    elsewhere = str(tmp_path / "elsewhere")
    call = site.call(Operation.SNAPSHOT, inputs={"repository": elsewhere})
    assert site.provider().repository(call) == str(site.directory)
    with pytest.raises(NonRecoverableError, match="no option 'repository'"):
        site.perform(Operation.SNAPSHOT, inputs={"vsphere_repository": elsewhere})


def test_a_node_may_have_a_repository_of_its_own(site: Any, option: Options, tmp_path: Any) -> None:
    site.backup(properties=option(repository=str(tmp_path / "own")))
    assert points(tmp_path / "own")
