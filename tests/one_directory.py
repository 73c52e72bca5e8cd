"""A deployment of one directory, for tests that need any."""

BLUEPRINT = """
tosca_definitions_version: cloudify_dsl_1_4
imports: [cloudify/types/types.yaml, plugin:quiesce]
node_templates:
  files:
    type: quiesce.nodes.host.Directory
    properties: {{path: {path}}}
"""
