"""A whole sweep in its run folder, by one process or several. It imports `report`, `execution` and all below them."""
