"""Weight sets by name: they are found, checked, loaded, and converted from other programs' files here.

This wing imports `common` and `network`.
"""
