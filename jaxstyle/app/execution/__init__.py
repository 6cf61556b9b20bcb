"""From a job to its outcome: lanes of one shape, compiled, run in chunks and checkpointed.

It imports `pictures` and all below it.
"""
