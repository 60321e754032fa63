"""Composition only: settings in, running processes out.

Must not hold rules; they belong to the packages below.
"""
