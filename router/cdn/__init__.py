"""The cache in front: the CDN's function, and purging answers that have changed.

Must not know how the public listener serves requests.
"""
