"""`python -m tests.support.site.own_names COMMAND`: `autorouter COMMAND` with the name server at
NAME_SERVER. A test cannot change the system's name server for one process only.
"""

import os
import sys
from typing import Any

import aiodns

from router.cli.main import main


class OwnResolver(aiodns.DNSResolver):
    """A resolver that uses only NAME_SERVER."""

    def __init__(self, nameservers: Any = None, **options: Any) -> None:
        super().__init__(nameservers=[os.environ["NAME_SERVER"]], **options)


if __name__ == "__main__":
    aiodns.DNSResolver = OwnResolver  # type: ignore[assignment,misc]
    sys.exit(main())
