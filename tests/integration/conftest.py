"""Fixtures of tests.support.ops_server."""

from tests.support.ops_server import geo, server, stand

__all__ = ["geo", "server", "stand"]
