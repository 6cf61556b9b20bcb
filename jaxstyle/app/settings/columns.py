"""Columns of the tables in a run folder."""

LOSSES: tuple[str, ...] = ("content_loss", "style_loss", "tv_loss", "total")
"""Columns of lanes.csv and history.csv, in the order of the fields of `objective.Losses`."""

HISTORY_COLUMNS = ("lane", "step", *LOSSES)
"""All columns of history.csv."""
