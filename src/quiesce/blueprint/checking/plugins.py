"""The plugins that a blueprint defines."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from quiesce.blueprint.reading.problems import NOWHERE, Problems, suggestion
from quiesce.blueprint.reading.source_map import (
    SourceMap,
    Value,
    empty_map,
    key_position,
    plain,
    value_position,
)
from quiesce.model.ids import Json

EXECUTORS: Final = ("central_deployment_agent", "host_agent")


@dataclass(frozen=True, slots=True, kw_only=True)
class Plugin:
    """A plugin that operations may name."""

    name: str
    executor: str
    package_name: str = ""
    package_version: str = ""
    properties: Mapping[str, Json] = field(default_factory=dict)


def read_plugins(section: Value, problems: Problems) -> dict[str, Plugin]:
    """Return every plugin of *section*; what is wrong with them is added to *problems*."""
    content = section if isinstance(section, SourceMap) else empty_map(NOWHERE)
    return {name: _plugin(content, name, problems) for name in content}


def _plugin(section: SourceMap, name: str, problems: Problems) -> Plugin:
    position = key_position(section, name)
    content = section[name] if isinstance(section[name], SourceMap) else empty_map(position)
    executor = content.get("executor")
    if executor not in EXECUTORS:
        what = f"the plugin {name!r} cannot have the executor {executor!r}"
        problems.add(value_position(content, "executor"), what, suggestion(executor, EXECUTORS))
    if content.get("install") is not False and not (content.get("source") or content.get("package_name")):
        what = f"the plugin {name!r} has neither source nor package_name"
        problems.add(position, what, "add one, or 'install: false'")
    properties = content.get("properties") or {}
    return Plugin(
        name=name,
        executor=str(executor or ""),
        package_name=str(content.get("package_name") or ""),
        package_version=str(content.get("package_version") or ""),
        properties={key: plain((each or {}).get("value")) for key, each in properties.items()},
    )
