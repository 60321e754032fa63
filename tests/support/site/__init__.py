"""A site of real processes (edges, pollers, Redis, servers, viewers) for fault injection."""
