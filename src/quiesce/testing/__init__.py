"""For authors of providers and stores: conformance suites, contexts, fuses, a clock that obeys."""

from quiesce.testing.contexts import RecordingContext
from quiesce.testing.engine_room import FakeClock, Hung, InlineWorkers, hang
from quiesce.testing.fuses import Fuse, FusedJournal, FusedProvider, PowerCut
from quiesce.testing.provider_contract import ProviderContract, Subject

__all__ = [
    "FakeClock",
    "Fuse",
    "FusedJournal",
    "FusedProvider",
    "Hung",
    "InlineWorkers",
    "PowerCut",
    "ProviderContract",
    "RecordingContext",
    "Subject",
    "hang",
]
