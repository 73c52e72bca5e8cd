"""Where repositories are kept: adapters of the port `Storage`, and wrappers around any of them."""

from quiesce.storage.memory import MemoryStorage

__all__ = ["MemoryStorage"]
