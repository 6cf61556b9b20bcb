"""Exports to Parquet: a folder with lanes.parquet, a row a lane, and history.parquet, a row a step of a lane.

The column `picture` holds the PNG file and its name, as data sets with images do.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from jaxstyle.app.exporting.finished_lanes import FinishedLane
from jaxstyle.app.settings.columns import LOSSES


def export(lanes: Sequence[FinishedLane], name: str, place: Path) -> None:
    """Write both tables, with the run's name in a column, so that tables of several runs can be joined."""
    import pyarrow as pa  # pyright: ignore[reportMissingImports]
    import pyarrow.parquet as pq  # pyright: ignore[reportMissingImports]

    place.mkdir()
    rows = [
        {
            "run": name,
            "lane": lane.number,
            **lane.settings,
            **lane.values,
            "steps": int(lane.steps[-1]) if len(lane.steps) else 0,
            "ok": lane.ok,
            "reason": lane.reason,
            "picture": {"bytes": lane.picture.read_bytes(), "path": lane.picture.name} if lane.picture else None,
        }
        for lane in lanes
    ]
    columns = dict.fromkeys(key for row in rows for key in row)
    mixed = {key for key in columns if len({type(row[key]) for row in rows if row.get(key) is not None}) > 1}
    table = {key: [str(row[key]) if key in mixed else row.get(key) for row in rows] for key in columns}
    pq.write_table(pa.table(table), place / "lanes.parquet")
    lengths = [len(lane.steps) for lane in lanes]
    history = {
        "run": [name] * sum(lengths),
        "lane": np.repeat([lane.number for lane in lanes], lengths),
        "step": np.concatenate([lane.steps for lane in lanes]),
    }
    for loss in LOSSES:
        history[loss] = np.concatenate([lane.losses.get(loss, np.zeros(0)) for lane in lanes])
    pq.write_table(pa.table(history), place / "history.parquet")
