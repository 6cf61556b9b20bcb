"""Plans say what fits on a machine and what a step costs; compiling tells it, and nothing is run.

This wing imports `network`, `objective`, `optimise`, `parallel`, `pretrained`, and the app's `system` and `execution`.
"""
