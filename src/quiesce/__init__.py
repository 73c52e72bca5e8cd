"""Whole-deployment suspend, resume, backup and restore, with nothing left frozen."""

__version__ = "0.1.0"

# Cloudify imports the function of ``quiesce.host.freeze`` from a module ``quiesce.host``: those modules lie
# together, out of the way (docs/decisions/0004).
__path__.append(f"{__path__[0]}/cloudify/operations")
