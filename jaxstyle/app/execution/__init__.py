"""Computes a job: compiles its lanes, runs them in chunks of steps with checkpoints, and gives their outcome.

It may import `pictures` and all wings below that.
"""
