"""The operators' page at `/` and what only it needs: the territory of every edge, and what
a change would move. All else comes from router.ops.app, by the same requests as anybody's.
"""

from router.ops.dashboard.pages import Dashboard

__all__ = ["Dashboard"]
