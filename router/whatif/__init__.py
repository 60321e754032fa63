"""Computes which viewers would move if the catalog or the fleet changed.

Must not change anything: it reads the present fleet and a geo database.
"""
