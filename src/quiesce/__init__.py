"""Whole-deployment suspend, resume, backup and restore, with nothing left frozen."""

__version__ = "0.1.0"
