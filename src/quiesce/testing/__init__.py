"""For authors of providers and stores: conformance suites, contexts, fuses, a clock that obeys."""

from quiesce.testing.contexts import RecordingContext
from quiesce.testing.engine_room import FakeClock, Hung, InlineWorkers, hang
from quiesce.testing.fuses import Fuse, FusedJournal, FusedProvider, PowerCut
from quiesce.testing.provider_contract import ProviderContract, Subject
from quiesce.testing.storage_contract import Place, StorageContract

__all__ = [
    "FakeClock",
    "Fuse",
    "FusedJournal",
    "FusedProvider",
    "Hung",
    "InlineWorkers",
    "Place",
    "PowerCut",
    "ProviderContract",
    "RecordingContext",
    "StorageContract",
    "Subject",
    "hang",
]
