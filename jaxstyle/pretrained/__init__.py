"""Find, check and load weight sets by name, and convert other programs' weights to their form.

This wing imports `common` and `network`.
"""
