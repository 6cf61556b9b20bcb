"""Fetch weight sets from public hosts, port them from other programs' files, and normalise them.

This wing imports `common`, `network`, `pretrained`, and the app's `system` and `pictures`.
"""
