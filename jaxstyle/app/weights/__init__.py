"""Weight sets are fetched from public hosts here, ported from other programs' files, and normalised.

This wing imports `common`, `network`, `pretrained`, and the app's `system` and `pictures`.
"""
