"""Commands over SSH that a blueprint brings: ``cloudify_terminal.tasks.run``."""

from __future__ import annotations

from quiesce.model.capabilities import Capabilities, Description
from quiesce.provider_kit.implementations import IMPLEMENTED

DESCRIPTION = Description(
    name="terminal",
    factory="quiesce.providers.terminal.provider:TerminalProvider",
    node_types="node_types.yaml",
    page="docs/providers/terminal.md",
    functions=frozenset({"cloudify_terminal.tasks.run", "quiesce.terminal."}),
    capabilities=Capabilities(
        operations=IMPLEMENTED, self_thaw=True, typical_s=dict.fromkeys(IMPLEMENTED, 0.5)
    ),
    extra="ssh",
)
