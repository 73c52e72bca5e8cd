"""A virtual machine: its power, its snapshots, its full copies, and the way back."""
