"""The subcommands, one or two in a module: their options, and the calls that carry them out.

This wing imports every other wing.
"""
