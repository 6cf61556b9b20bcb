"""Deals with the process and the machine: messages, signals, files, locks, memory, devices, cached programs.

It imports no other wing of the app.
"""
