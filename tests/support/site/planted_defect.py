"""`python -m tests.support.site.planted_defect COMMAND`: `autorouter COMMAND` with a bug. A request
with `planted=` in its query raises.
"""

import sys
from typing import Any

from router.api.app import PublicApp
from router.cli.main import main

_read = PublicApp._known_target


def _defective(app: PublicApp, target: bytes) -> Any:
    if b"planted=" in target:
        raise RuntimeError("a planted defect")
    return _read(app, target)


if __name__ == "__main__":
    PublicApp._known_target = _defective  # type: ignore[method-assign,assignment]
    sys.exit(main())
