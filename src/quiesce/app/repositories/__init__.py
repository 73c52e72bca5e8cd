"""Repositories by their URL: what the commands below ``quiesce repository`` do."""
