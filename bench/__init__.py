"""Benchmarks: each is a module with `run() -> list[Figure]`; `scripts/bench NAME` runs one."""
