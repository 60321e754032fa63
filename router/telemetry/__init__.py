"""What the service reports of itself: logs and metrics.

Must not decide anything, nor hold a viewer's address.
"""
