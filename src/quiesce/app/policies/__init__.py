"""What happens by itself: policies, which runs of theirs are due, running them, telling of trouble."""
