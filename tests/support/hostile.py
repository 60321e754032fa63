"""Stored values and texts that an attacker or a faulty release could write."""

import json
import math

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from router.model import Event, Intent, View
from router.store.codec import encode
from tests.support.builders import NOW

# Terminal escape sequences, line ends, right-to-left marks, C1 controls and Unicode tags.
HOSTILE_TEXTS = [
    "\x1b[2J",
    "\x1b]0;title\x07",
    "a\nb",
    "\r",
    "\x9b31m",
    "\u202eabc",
    "\u2066",
    "\u2028",
    "\x7f",
    "\U000e0001",
]
ODD_TIMES = [NOW * 1_000, NOW * 1e6, 1e300, -1e300, -1, 0, 2**63, NOW + 1e6, 253_402_300_800]
odd_numbers = (
    st.sampled_from([*ODD_TIMES, math.nan, math.inf, 10**400]) | st.floats() | st.integers()
)
odd_texts = st.text(max_size=30) | st.sampled_from(["", "\x1b[2J", "x" * 70_000, "é\u202e", "\x00"])
odd_values = st.recursive(
    st.none() | st.booleans() | odd_numbers | odd_texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(odd_texts, inner, max_size=3),
    max_leaves=6,
)

many = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)


@st.composite
def mangled(draw: st.DrawFn, value: View | Intent | Event) -> bytes:
    """The value with one field, at any depth, missing or odd."""
    fields = json.loads(encode(value))
    target = fields
    if isinstance(value, View) and draw(st.booleans()):
        target = fields["edges"]["yto-01"]
    name = draw(st.sampled_from(sorted(target)))
    if draw(st.booleans()):
        target[name] = draw(odd_values)
    elif draw(st.booleans()):
        del target[name]
    else:
        target[draw(odd_texts)] = target.pop(name)
    return json.dumps(fields).encode()
