"""What every wing needs and none owns: dtypes, checks of arguments, image arrays, kinds of files.

It imports no other wing.
"""
