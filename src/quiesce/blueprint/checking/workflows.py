"""The workflows that a blueprint defines."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from quiesce.blueprint.checking.inputs import Input, read_inputs
from quiesce.blueprint.checking.interfaces import RUN_WORKFLOW_SCRIPT
from quiesce.blueprint.checking.templates import Vocabulary
from quiesce.blueprint.reading.problems import Problems
from quiesce.blueprint.reading.source_map import SourceMap, Value, value_position
from quiesce.blueprint.reading.versions import DslVersion


@dataclass(frozen=True, slots=True, kw_only=True)
class DeclaredWorkflow:
    """A workflow that the blueprint, or something that it imports, defines."""

    name: str
    plugin: str
    function: str
    parameters: Mapping[str, Input] = field(default_factory=dict)
    #: for scripts: the input that names the script, and its value
    script: tuple[str, str] | None = None


def read_workflows(
    section: Value, vocabulary: Vocabulary, version: DslVersion, problems: Problems
) -> dict[str, DeclaredWorkflow]:
    """Return every workflow of *section* that can be understood; the rest is added to *problems*."""
    section = section or {}
    result: dict[str, DeclaredWorkflow] = {}
    for name, content in section.items():
        is_mapping = isinstance(content, SourceMap)
        mapping = content.get("mapping") if is_mapping else content
        position = value_position(content, "mapping") if is_mapping else value_position(section, name)
        subject = f"workflow {name!r}"
        if not isinstance(mapping, str) or not mapping:
            problems.add(position, f"{subject} has no mapping")
            continue
        target = vocabulary.implementations.target(
            mapping, position, subject, script_function=RUN_WORKFLOW_SCRIPT
        )
        parameters = content.get("parameters") if is_mapping else None
        if target is not None:
            result[name] = DeclaredWorkflow(
                name=name,
                plugin=target.plugin,
                function=target.function,
                script=target.script,
                parameters=read_inputs(
                    parameters, f"parameter of {subject}", vocabulary.data_types, version, problems
                ),
            )
    return result
