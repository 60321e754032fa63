"""How many random cases a test of shares and spreads draws."""

from hypothesis import settings

_OF_MAKE_TEST = settings.get_profile("autorouter").max_examples


def samples(full: int) -> int:
    """`full` for `make test`; a tenth of it for `make check`, whose profile tries a tenth of
    the examples."""
    return full * settings().max_examples // _OF_MAKE_TEST
