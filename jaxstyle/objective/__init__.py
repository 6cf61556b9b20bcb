"""The objective: what a picture is compared with, and how. Losses, statistics of style, regions and targets.

It imports `network` and `common`.
"""
