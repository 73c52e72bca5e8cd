"""Scripts that a blueprint brings: Python and shell, with the ``ctx`` that they know."""

from __future__ import annotations

from quiesce.model.capabilities import Capabilities, Description
from quiesce.provider_kit.implementations import IMPLEMENTED

DESCRIPTION = Description(
    name="script",
    factory="quiesce.providers.script.provider:ScriptProvider",
    page="docs/providers/script.md",
    functions=frozenset({"script_runner.tasks.run"}),
    capabilities=Capabilities(operations=IMPLEMENTED, typical_s=dict.fromkeys(IMPLEMENTED, 0.1)),
)
