"""Names of contexts."""

NODE_INSTANCE = "node-instance"
RELATIONSHIP_INSTANCE = "relationship-instance"
DEPLOYMENT = "deployment"
COMPUTE_NODE_TYPE = "cloudify.nodes.Compute"
