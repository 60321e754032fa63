"""The operators' page at `/`, and two routes that only this page uses: the territory of every edge,
and previews of changes. Its other data comes from the public routes of router.ops.app.
"""

from router.ops.dashboard.pages import Dashboard

__all__ = ["Dashboard"]
