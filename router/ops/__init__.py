"""The operators' listener: fleet, events, intents, diagnosis and the dashboard.

Must not be reachable through the public listener, and must not decide answers.
"""
