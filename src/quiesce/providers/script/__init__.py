"""Scripts that a blueprint brings: Python and shell, with the ``ctx`` that they know."""

from __future__ import annotations

from quiesce.model.capabilities import Capabilities, Description
from quiesce.model.operation import Operation

DESCRIPTION = Description(
    name="script",
    factory="quiesce.providers.script.provider:ScriptProvider",
    page="docs/providers/script.md",
    functions=frozenset({"script_runner.tasks.run"}),
    capabilities=Capabilities(typical_s=dict.fromkeys(Operation, 0.1)),
)
