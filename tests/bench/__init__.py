"""Benchmarks: `make bench`. They print figures and never fail on a time; see `__main__`."""
