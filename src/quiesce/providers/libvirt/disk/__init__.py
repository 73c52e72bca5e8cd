"""Disks: read from a server, stored as images, put together again."""
