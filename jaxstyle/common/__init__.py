"""Code that every wing needs: dtypes, checks of arguments, names of layers, image arrays, kinds of files.

It imports no other wing.
"""
