"""Copies of disks and machines: cut, completed, checked, removed."""
