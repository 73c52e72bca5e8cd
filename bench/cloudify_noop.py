"""What a no-op operation costs in cloudify-common's local engine, in milliseconds; run by its interpreter."""

import os
import tempfile
import time

from cloudify.workflows import local

COUNT = 2000

BLUEPRINT = """
tosca_definitions_version: cloudify_dsl_1_3
plugins:
  p: {executor: central_deployment_agent, install: false, package_name: p}
node_types:
  idle:
    interfaces:
      cloudify.interfaces.freeze:
        fs_prepare: {implementation: p.idle_operations.nothing, executor: central_deployment_agent}
        fs_finalize: {implementation: p.idle_operations.nothing, executor: central_deployment_agent}
      cloudify.interfaces.snapshot:
        create: {implementation: p.idle_operations.nothing, executor: central_deployment_agent}
node_templates:
  node:
    type: idle
    instances: {deploy: COUNT}
workflows:
  all: p.idle_operations.run_all
"""

PLUGIN = """
from cloudify.decorators import operation, workflow
OPERATIONS = ("freeze.fs_prepare", "snapshot.create", "freeze.fs_finalize")

@operation
def nothing(ctx, **kwargs):
    pass

@workflow
def run_all(ctx, **kwargs):
    graph = ctx.graph_mode()
    for name in OPERATIONS:
        for instance in ctx.node_instances:
            graph.add_task(instance.execute_operation("cloudify.interfaces." + name))
    graph.execute()
"""


def main() -> None:
    """Run three operations on each of COUNT instances and print the cost of one."""
    import logging
    import sys

    logging.disable(logging.CRITICAL)
    with tempfile.TemporaryDirectory() as directory:
        with open(os.path.join(directory, "b.yaml"), "w") as file:
            file.write(BLUEPRINT.replace("COUNT", str(COUNT)))
        with open(os.path.join(directory, "idle_operations.py"), "w") as file:
            file.write(PLUGIN)
        sys.path.insert(0, directory)
        environment = local.init_env(os.path.join(directory, "b.yaml"), name="bench")
        began = time.perf_counter()
        environment.execute("all", task_thread_pool_size=64)
        print(1000 * (time.perf_counter() - began) / (3 * COUNT))


main()
