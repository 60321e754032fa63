"""Faults that the dashboard must show, by the kind of site."""
