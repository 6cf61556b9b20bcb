"""Judges of pictures that did not make them, and the choice among pictures. It imports `objective` and `network`."""
