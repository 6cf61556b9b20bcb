"""Run folders on disk: makes them, writes run.json, and reads runs back.

It may import `execution` and all wings below that.
"""
