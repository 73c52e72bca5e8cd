"""Restore points: what an execution made of them, their manifests, their checks, and their retention."""
