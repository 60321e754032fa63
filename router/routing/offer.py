"""What of a Fleet can be offered, by id and by model: what most answers need of it, in place
of a look at every edge. Pure.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

from router.model import Observed
from router.routing.fleet import Edge, Fleet


class Inventory(NamedTuple):
    """What edges say of models, by id in lower case.

    `spellings`: as any edge writes it. `enabled`: those that an enabled edge has loaded.
    `loaded`: the edges on offer that have it loaded.
    """

    spellings: dict[str, set[str]]
    enabled: set[str]
    loaded: dict[str, dict[str, Edge]]


@dataclass(frozen=True)
class Offer:
    """`edges`: those on offer, by id."""

    fleet: Fleet
    edges: Mapping[str, Edge]

    def spellings(self, model: str) -> Collection[str]:
        """How edges write it."""
        return self._inventory.spellings.get(model.casefold(), ())

    def with_model(self, model: str) -> Mapping[str, Edge]:
        """The edges that have it loaded; if no enabled edge has, those that may."""
        folded = model.casefold()
        if folded in self._inventory.enabled:
            return self._inventory.loaded.get(folded, {})
        return self._unsure

    def is_nowhere(self, model: str) -> bool:
        """Every enabled edge says what it has, and this is not it."""
        is_told = model.casefold() in self._inventory.enabled
        return self._is_whole and not is_told and bool(self.edges)

    @cached_property
    def _inventory(self) -> Inventory:
        inventory = Inventory({}, set(), {})
        spellings, enabled, loaded = inventory
        for edge in self.fleet.edges:
            for id in edge.models or ():
                folded = id.casefold()
                spellings.setdefault(folded, set()).add(id)
                if edge.enabled:
                    enabled.add(folded)
                if edge.region.id in self.edges:
                    loaded.setdefault(folded, {})[edge.region.id] = edge
        return inventory

    @cached_property
    def _unsure(self) -> Mapping[str, Edge]:
        return {id: edge for id, edge in self.edges.items() if edge.models is None}

    @cached_property
    def _is_whole(self) -> bool:
        return all(edge.models is not None for edge in self.fleet.edges if edge.enabled)


def offered(fleet: Fleet, *, health_counts: bool) -> Offer:
    """The enabled edges that are up; while health does not count, all enabled ones."""
    enabled = (edge for edge in fleet.edges if edge.enabled)
    fit = (edge for edge in enabled if edge.observed is Observed.UP or not health_counts)
    return Offer(fleet, {edge.region.id: edge for edge in fit})
