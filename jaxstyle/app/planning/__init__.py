"""Plan what fits on a machine and what a step costs, by compiling and without running anything.

This wing imports `network`, `objective`, `optimise`, `parallel`, `pretrained`, and the app's `system` and `execution`.
"""
