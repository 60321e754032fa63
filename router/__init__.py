"""autorouter: tells every SDK which inference edge is nearest and healthy."""

__version__ = "1.0.0"
