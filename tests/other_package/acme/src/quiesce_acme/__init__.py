"""Boxes of the company Acme."""

from quiesce.model.capabilities import Capabilities, Description, Kind
from quiesce.model.operation import Operation

DESCRIPTION = Description(
    name="acme",
    factory="quiesce_acme.provider:AcmeProvider",
    functions=frozenset({"quiesce.acme."}),
    kinds=(
        Kind(
            name="box",
            types=frozenset({"acme.nodes.Box"}),
            capabilities=Capabilities(
                operations=frozenset(
                    {
                        Operation.FREEZE,
                        Operation.THAW,
                        Operation.SNAPSHOT,
                        Operation.APPLY,
                        Operation.DELETE,
                        Operation.MEASURE,
                    }
                ),
                cheap_snapshot=True,
            ),
        ),
    ),
    node_types="node_types.yaml",
    page="README.md",
)
