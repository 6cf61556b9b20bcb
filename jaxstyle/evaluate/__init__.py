"""Measure pictures by metrics, which had no part in making them, and choose among lanes.

This wing imports `common`, `colour`, `network` and `objective`.
"""
