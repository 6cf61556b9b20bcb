"""Many pictures at once, as vmapped lanes, and one picture over many devices.

It imports `optimise` and all below it.
"""
