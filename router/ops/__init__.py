"""The operators' listener: fleet, events, intents, diagnosis and the dashboard.

It must not be reachable through the public listener, and does not decide answers.
"""
