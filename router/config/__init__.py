"""What an operator writes: settings, regions.yaml and data files, read and validated.

Must not know which process uses them.
"""
