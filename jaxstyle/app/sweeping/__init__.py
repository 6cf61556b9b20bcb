"""Runs a whole sweep in its run folder, in one process or several; it may import `report` and all wings below that."""
