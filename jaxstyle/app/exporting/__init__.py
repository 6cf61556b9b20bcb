"""Writes runs into the formats of other tools, a module a tool; a tool is imported only when it is asked for.

It may import `run_folder` and all wings below.
"""
