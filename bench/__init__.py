"""Measurements, apart from the tests: ratios, side by side in one run."""
