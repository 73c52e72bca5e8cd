"""Executions: run, follow, guard, recover and report them."""
