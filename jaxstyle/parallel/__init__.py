"""Many pictures at once, as vmapped lanes, and one picture over many devices.

It imports `optimise` and the wings that `optimise` imports.
"""
