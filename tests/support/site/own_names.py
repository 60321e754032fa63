"""`python -m tests.support.site.own_names COMMAND`: `autorouter COMMAND` with the name server
at NAME_SERVER in place of the system's, which is the same for all that runs on a machine.
"""

import os
import sys
from typing import Any

import aiodns

from router.cli.main import main


class OwnResolver(aiodns.DNSResolver):
    """Asks one name server."""

    def __init__(self, nameservers: Any = None, **options: Any) -> None:
        super().__init__(nameservers=[os.environ["NAME_SERVER"]], **options)


if __name__ == "__main__":
    aiodns.DNSResolver = OwnResolver  # type: ignore[assignment,misc]
    sys.exit(main())
