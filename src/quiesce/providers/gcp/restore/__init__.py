"""Restores: in place, beside the original, and when the original is gone."""
