"""Read the pictures that arguments name, pair them, and bring them to the shapes that a job computes.

This wing imports `common`, `colour`, `network`, `objective`, `optimise`, and the app's `image_files`, `settings` and
`system`.
"""
