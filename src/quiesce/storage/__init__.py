"""Where repositories are kept: adapters of the port `Storage`, and wrappers around any of them."""

from quiesce.storage.directory import DirectoryStorage
from quiesce.storage.memory import MemoryStorage

__all__ = ["DirectoryStorage", "MemoryStorage"]
