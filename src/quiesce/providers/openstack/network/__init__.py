"""Networks, subnets, ports, routers and security groups: their definition is saved, compared, applied."""
