"""Decides which edge a viewer gets, and why: a pure function of viewer, query and fleet.

Must not do I/O, read a clock, draw random numbers, or know how requests arrive.
"""
