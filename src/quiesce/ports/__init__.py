"""What the core asks of the outside world. Adapters answer these; SDK types and errors never cross them."""

from quiesce.ports.engine import Clock, Completion, Guard, Journal, Workers
from quiesce.ports.messenger import Messenger
from quiesce.ports.providers import (
    Context,
    CutMeasurer,
    Discoverer,
    Doctor,
    Finding,
    FormerStateKeeper,
    PlaceTeller,
    Provider,
    ProviderFactory,
    ProviderSettings,
    RepositoryUser,
    TargetInspector,
    UsageTeller,
    Verifier,
)
from quiesce.ports.storage import Data, Storage
from quiesce.ports.stores import (
    Catalog,
    Deployments,
    Executions,
    Lease,
    Leases,
    LiveDeployment,
    Manifests,
    Policies,
)

__all__ = [
    "Catalog",
    "Clock",
    "Completion",
    "Context",
    "CutMeasurer",
    "Data",
    "Deployments",
    "Discoverer",
    "Doctor",
    "Executions",
    "Finding",
    "FormerStateKeeper",
    "Guard",
    "Journal",
    "Lease",
    "Leases",
    "LiveDeployment",
    "Manifests",
    "Messenger",
    "PlaceTeller",
    "Policies",
    "Provider",
    "ProviderFactory",
    "ProviderSettings",
    "RepositoryUser",
    "Storage",
    "TargetInspector",
    "UsageTeller",
    "Verifier",
    "Workers",
]
