"""The public listener: parses HTTP requests, sends prepared responses, and manages the processes
that share its port.

Must not know operators, dashboards or commands.
"""
