"""The command line: arguments in, text for people out.

Must not hold logic that a server needs.
"""

import gc

gc.set_threshold(50_000)  # objects made at start stay alive: 150 collections would free nothing
