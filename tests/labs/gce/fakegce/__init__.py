"""A Compute Engine stand-in that checks every request and answer against Google's discovery document."""

from fakegce.cloud import Cloud
from fakegce.estate import Estate
from fakegce.faults import Fault
from fakegce.server import Server, serve
from fakegce.spec import ApiError, Spec

__all__ = ["ApiError", "Cloud", "Estate", "Fault", "Server", "Spec", "serve"]
