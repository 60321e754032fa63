"""Addresses to test databases with; always the same for the same count."""

import random
from ipaddress import IPv4Address, IPv6Address
from itertools import chain

# The /16s from which registries have allocated most IPv6 networks.
_V6_BLOCKS = (
    *chain(range(0x2400, 0x240F), range(0x2600, 0x2608), range(0x2800, 0x2807)),
    *chain(range(0x2A00, 0x2A11), [0x2001, 0x2620, 0x2C0F]),
)
_SEED = 2026


def v4_sample(count: int) -> list[str]:
    """Public IPv4 addresses from the whole address space."""
    rng = random.Random(_SEED)  # noqa: S311 - a sample, no secret
    sample: list[str] = []
    while len(sample) < count:
        address = IPv4Address(rng.getrandbits(32))
        if address.is_global and not address.is_multicast:
            sample.append(str(address))
    return sample


def v6_sample(count: int) -> list[str]:
    """IPv6 addresses from allocated ranges; most of them are in no network in use."""
    rng = random.Random(_SEED)  # noqa: S311
    return [
        str(IPv6Address(rng.choice(_V6_BLOCKS) << 112 | rng.getrandbits(112))) for _ in range(count)
    ]
