"""Servers: images of their root disks, the volumes attached, and the one freeze that Nova has."""
