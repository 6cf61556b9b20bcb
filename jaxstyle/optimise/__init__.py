"""The optimisation of one picture: transfer, optimisers, stopping, averaging, coarse to fine, presets.

It imports `objective`, `network`, `colour` and `common`.
"""
