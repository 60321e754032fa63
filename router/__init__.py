"""autorouter: tells every SDK which inference edge is nearest and healthy."""

__version__ = "0.1.0"
