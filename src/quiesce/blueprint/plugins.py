"""The plugins that a blueprint defines."""

from __future__ import annotations

from typing import Final

from quiesce.blueprint.marked import MarkedMap, Value, empty_map, key_mark, plain, value_mark
from quiesce.blueprint.model import Plugin
from quiesce.blueprint.problems import NOWHERE, Problems, suggestion

EXECUTORS: Final = ("central_deployment_agent", "host_agent")


def read_plugins(section: Value, problems: Problems) -> dict[str, Plugin]:
    """Return every plugin of *section*; what is wrong with them is added to *problems*."""
    content = section if isinstance(section, MarkedMap) else empty_map(NOWHERE)
    return {name: _plugin(content, name, problems) for name in content}


def _plugin(section: MarkedMap, name: str, problems: Problems) -> Plugin:
    mark = key_mark(section, name)
    content = section[name] if isinstance(section[name], MarkedMap) else empty_map(mark)
    executor = content.get("executor")
    if executor not in EXECUTORS:
        what = f"the plugin {name!r} cannot have the executor {executor!r}"
        problems.add(value_mark(content, "executor"), what, suggestion(executor, EXECUTORS))
    if content.get("install") is not False and not (content.get("source") or content.get("package_name")):
        what = f"the plugin {name!r} says neither source nor package_name"
        problems.add(mark, what, "add one, or 'install: false'")
    properties = content.get("properties") or {}
    return Plugin(
        name=name,
        executor=str(executor or ""),
        package_name=str(content.get("package_name") or ""),
        package_version=str(content.get("package_version") or ""),
        properties={key: plain((each or {}).get("value")) for key, each in properties.items()},
    )
