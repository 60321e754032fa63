"""The command line: reads arguments and prints text for people.

Must not have logic that a server needs.
"""

import gc

gc.set_threshold(50_000)  # saves 150 collections at the start, which would free nothing
