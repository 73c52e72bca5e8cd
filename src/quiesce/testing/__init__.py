"""For authors of providers and stores: conformance suites, contexts and fuses."""

from quiesce.testing.contexts import RecordingContext
from quiesce.testing.provider_contract import ProviderContract, Subject

__all__ = ["ProviderContract", "RecordingContext", "Subject"]
