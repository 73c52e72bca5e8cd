"""Python functions of installed Cloudify plugins, as blueprints name them."""

from __future__ import annotations

from quiesce.model.capabilities import THE_REST, Capabilities, Description
from quiesce.provider_kit.implementations import IMPLEMENTED

DESCRIPTION = Description(
    name="function",
    factory="quiesce.providers.function.provider:FunctionProvider",
    page="docs/providers/function.md",
    functions=frozenset({THE_REST}),
    capabilities=Capabilities(operations=IMPLEMENTED, typical_s=dict.fromkeys(IMPLEMENTED, 1.0)),
    extra="cloudify",
)
