"""Finds where an address is: geo databases, geofeeds, countries and distances on the sphere.

Must not know edges, health, requests or settings.
"""
