"""Storage by itself: adapters, wrappers, URLs."""
