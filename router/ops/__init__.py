"""The operators' listener: fleet, events, intents, diagnosis and the dashboard.

Must not be reachable from the public listener, nor change how requests are answered.
"""
