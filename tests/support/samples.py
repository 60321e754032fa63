"""The number of random cases for statistical tests."""

from hypothesis import settings

_OF_MAKE_TEST = settings.get_profile("autorouter").max_examples


def samples(full: int) -> int:
    """`full` for `make test` and CI, else a tenth of it, like the profile's examples."""
    return full * settings().max_examples // _OF_MAKE_TEST
