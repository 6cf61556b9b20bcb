"""Gradients of a transfer's result with respect to its weights, targets and start.

It imports `optimise` and the wings that `optimise` imports.
"""
