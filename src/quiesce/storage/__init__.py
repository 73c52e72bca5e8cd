"""Where repositories are kept: adapters of the port `Storage`, and wrappers around any of them."""

from quiesce.storage.directory import DirectoryStorage
from quiesce.storage.memory import MemoryStorage
from quiesce.storage.opening import open_storage
from quiesce.storage.read_only import ReadOnlyStorage
from quiesce.storage.retrying import Patience, RetryingStorage
from quiesce.storage.throttled import Limits, ThrottledStorage
from quiesce.storage.urls import StorageUrl, parse_url

__all__ = [
    "DirectoryStorage",
    "Limits",
    "MemoryStorage",
    "Patience",
    "ReadOnlyStorage",
    "RetryingStorage",
    "StorageUrl",
    "ThrottledStorage",
    "open_storage",
    "parse_url",
]
