"""The pictures that arguments name are read here, paired, and brought to the shapes that a job computes.

This wing imports `common`, `colour`, `network`, `objective`, `optimise`, and the app's `image_files`, `settings` and
`system`.
"""
