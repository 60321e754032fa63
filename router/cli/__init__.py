"""The command line: arguments in, text for people out.

Must not hold logic that a server needs.
"""
