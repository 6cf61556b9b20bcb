"""Code that every wing needs: dtypes, checks of arguments, image arrays, kinds of files.

It imports no other wing.
"""
