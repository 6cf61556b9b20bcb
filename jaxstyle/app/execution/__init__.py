"""Computes a job: compiles its lanes, runs them in chunks of steps with checkpoints, and gives their outcome.

`--microbatch` sets how many lanes are computed at once, and so the memory. The default suits the device, and when
memory runs out, smaller groups are tried.

This wing may import `pictures` and all wings below that.
"""
