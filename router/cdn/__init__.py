"""The cache in front of the service: the CDN's function, and purging of changed answers.

Must not know how the public listener serves requests.
"""
