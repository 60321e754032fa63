"""Shell completion of edge ids: from a server, else from Redis, else from regions.yaml."""

import asyncio
import os
from contextlib import suppress
from typing import Any

import click
from click.shell_completion import CompletionItem

TIMEOUT_S = 1.0


def edge_ids(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Edges whose id begins with the text, with their name and state. Empty on any error, because
    completion must not print errors.
    """
    named = set(ctx.params.get(param.name or "") or ())
    with suppress(Exception):
        return [
            CompletionItem(edge["id"], help=f"{edge['name']}, {edge['state']}, {edge['intent']}")
            for edge in _edges()
            if edge["id"].startswith(incomplete) and edge["id"] not in named
        ]
    return []


def _edges() -> list[dict[str, Any]]:
    from router.config.settings import load_settings, read_settings
    from router.ops import client

    async def ask() -> dict[str, Any]:
        async with asyncio.timeout(TIMEOUT_S):
            return await client.edges(
                read_settings(os.environ)[0], lambda: load_settings(os.environ)
            )

    edges: list[dict[str, Any]] = asyncio.run(ask())["edges"]
    return edges
