"""Deals with the process and the machine: messages, signals, files, locks, memory, devices, cached programs.

Compiled programs are kept in the user's cache folder, so that a second run of the same shapes starts sooner.
`JAXSTYLE_CACHE` names another folder, and an empty `JAX_COMPILATION_CACHE_DIR` turns it off. Without a home folder, or
where nothing can be written, nothing is kept.

It imports no other wing of the app.
"""
