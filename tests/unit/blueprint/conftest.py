"""Writes blueprints into a directory and loads them."""

from __future__ import annotations

import random
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import pytest

from quiesce.blueprint import Blueprint, ImportPolicy, InvalidBlueprintError, instantiate, load_blueprint
from quiesce.model.topology import Topology

EVERYTHING = ImportPolicy()
HEADER = """\
tosca_definitions_version: cloudify_dsl_1_3
imports:
  - cloudify/types/types.yaml
"""


class Load(Protocol):
    def __call__(
        self,
        text: str,
        *,
        header: str = ...,
        inputs: Mapping[str, Any] | None = None,
        policy: ImportPolicy = ...,
    ) -> Blueprint: ...


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """The directory that blueprints of this test are written to."""
    return tmp_path


@pytest.fixture
def load(directory: Path) -> Load:
    """Load a blueprint from its text; the usual header stands before it unless another is given."""

    def load_text(
        text: str,
        *,
        header: str = HEADER,
        inputs: Mapping[str, Any] | None = None,
        policy: ImportPolicy = EVERYTHING,
    ) -> Blueprint:
        path = directory / "blueprint.yaml"
        path.write_text(header + text)
        return load_blueprint(path, inputs=inputs, imports=policy)

    return load_text


@pytest.fixture
def problems(load: Load) -> Any:
    """Load a wrong blueprint and return its problems, file names cut to the last part."""

    def problems_of(text: str, **arguments: Any) -> list[str]:
        with pytest.raises(InvalidBlueprintError) as caught:
            load(text, **arguments)
        return [
            f"{Path(each.position.file).name}:{each.position.line}:{each.position.column}: {each.what}"
            + (f"; {each.remedy}" if each.remedy else "")
            for each in caught.value.problems
        ]

    return problems_of


@pytest.fixture
def topology(load: Load) -> Any:
    """Load a blueprint and instantiate it."""

    def topology_of(text: str, **arguments: Any) -> Topology:
        return instantiate(load(text, **arguments), random.Random(1).choice)

    return topology_of
