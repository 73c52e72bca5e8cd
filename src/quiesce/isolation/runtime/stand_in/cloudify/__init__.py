"""What scripts import from ``cloudify``, for operations that quiesce runs without Cloudify."""

from cloudify.state import ctx

__all__ = ["ctx"]
