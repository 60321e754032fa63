"""A whole site of real processes (edges, pollers, Redis, servers, viewers), to be broken."""
