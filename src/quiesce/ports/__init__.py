"""What the core asks of the outside world. Adapters answer these; SDK types and errors never cross them."""

from quiesce.ports.engine import Clock, Completion, Guard, Journal, Workers
from quiesce.ports.providers import (
    Context,
    Discoverer,
    Examiner,
    Finding,
    Keeper,
    Provider,
    ProviderFactory,
    ProviderSettings,
    Verifier,
)
from quiesce.ports.stores import Catalog, Deployments, Executions, Lease, Leases, LiveDeployment, Manifests

__all__ = [
    "Catalog",
    "Clock",
    "Completion",
    "Context",
    "Deployments",
    "Discoverer",
    "Examiner",
    "Executions",
    "Finding",
    "Guard",
    "Journal",
    "Keeper",
    "Lease",
    "Leases",
    "LiveDeployment",
    "Manifests",
    "Provider",
    "ProviderFactory",
    "ProviderSettings",
    "Verifier",
    "Workers",
]
