"""Decides whether an edge is fit to serve: probes, the state machine, and what one vantage
publishes.

Must not know viewers, requests or how answers are chosen.
"""
