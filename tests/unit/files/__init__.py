"""Tests of what opens, walks, writes, exchanges and removes users' trees."""
