"""The old suspend plugin's backup, as its documentation describes it: one operation after the other.

Written from the published description (services prepared, computes prepared, snapshots, computes finalized,
services finalized), for comparing; it thaws nothing when something fails.
"""

from cloudify.decorators import workflow

COMPUTE = "cloudify.nodes.Compute"
PREPARE = "cloudify.interfaces.freeze.fs_prepare"
CREATE = "cloudify.interfaces.snapshot.create"
FINALIZE = "cloudify.interfaces.freeze.fs_finalize"


@workflow
def backup(ctx, **parameters):
    graph = ctx.graph_mode()
    sequence = graph.sequence()
    for operation, wanted in (
        (PREPARE, lambda compute: not compute),
        (PREPARE, lambda compute: compute),
        (CREATE, lambda _: True),
        (FINALIZE, lambda compute: compute),
        (FINALIZE, lambda compute: not compute),
    ):
        for node in ctx.nodes:
            if operation in node.operations and wanted(COMPUTE in node.type_hierarchy):
                for instance in node.instances:
                    sequence.add(
                        instance.send_event(f"Starting to {operation}"),
                        instance.execute_operation(operation, kwargs=parameters),
                        instance.send_event(f"Done {operation}"),
                    )
    graph.execute()


@workflow
def uninstall(ctx, **_):
    """Leave everything running: cfy removes the deployment's files afterwards, whatever this does."""
