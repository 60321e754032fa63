"""How many random cases a test of shares and spreads draws."""

from hypothesis import settings

_OF_MAKE_TEST = settings.get_profile("autorouter").max_examples


def samples(full: int) -> int:
    """`full` for `make test` and CI; a tenth of it else, as the profile tries a tenth of
    the examples."""
    return full * settings().max_examples // _OF_MAKE_TEST
