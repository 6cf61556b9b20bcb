"""Run folders as they lie on disk: making them, run.json, reading them back.

It imports `execution` and all below it.
"""
