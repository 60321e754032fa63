"""The command line: arguments in, text for people out.

Must not hold logic that a server needs.
"""

import gc

gc.set_threshold(50_000)  # starting makes objects that stay: 150 collections would find nothing
