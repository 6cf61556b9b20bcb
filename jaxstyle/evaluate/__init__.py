"""Metrics, which measure pictures without having made them, and the choice among lanes by two losses or metrics.

This wing imports `common`, `colour`, `network` and `objective`.
"""
