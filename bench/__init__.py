"""Benchmarks. They compare servers in the same run and report ratios."""
