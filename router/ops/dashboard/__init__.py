"""The operators' page at `/` and the requests that only it makes: the territory of every edge, and
previews of changes. All other data comes from router.ops.app, by the same requests that other
clients make.
"""

from router.ops.dashboard.pages import Dashboard

__all__ = ["Dashboard"]
