"""Weight sets by name: where they lie, their checks, and their conversion. It imports `network`."""
