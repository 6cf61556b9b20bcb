"""Gradients of a finished transfer with respect to its weights, targets and start.

It imports `optimise` and all below it.
"""
