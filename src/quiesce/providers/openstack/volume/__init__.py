"""Volumes: snapshots, backups of them, and how each is put back."""
