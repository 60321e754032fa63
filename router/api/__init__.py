"""The public listener: HTTP in, ready bytes out, and the processes that share its port.

Must not know operators, dashboards or commands.
"""
