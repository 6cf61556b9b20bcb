"""Writes and reads the checkpoints of a run folder, from which a killed run goes on.

It may import `system` and all wings below that.
"""
