"""What a picture is compared with, and how: losses, statistics of style, regions, the objective.

It imports `network`.
"""
