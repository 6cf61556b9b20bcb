"""What fits on a machine and what a step costs, found by compiling. It imports `execution` and all below it."""
