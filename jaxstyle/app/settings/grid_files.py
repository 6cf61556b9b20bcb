"""Grid files, which hold the lanes of a sweep as TOML or CSV. The module imports neither jax nor NumPy.

A grid file in TOML holds either lists of values, of which every combination is a lane:

    [product]                            # lists that are combined; the last one varies fastest
    alpha = 1
    beta = "0.1:100:4"                   # or [0.1, 1, 10, 100]
    style_layer_weights = [[1, 1, 1, 0, 0], [0, 0, 1, 1, 1]]

    [zip]                                # lists of one length that vary together, faster than those of [product]
    learning_rate = [0.01, 0.03]
    seed = [1, 2]

or the lanes one by one:

    [[lane]]                             # a table for each lane; all name the same settings
    beta = 0.3
    tv = 10

In CSV, the first line names the settings, and each further line is a lane. Weights of layers stand in one cell, with
spaces between them.
"""

import csv
import io
import os
import tomllib
from pathlib import Path
from typing import Any

from jaxstyle.app.settings.grids import check_count, check_lengths, combine_values
from jaxstyle.app.settings.lane_settings import LaneValues, lane_setting
from jaxstyle.app.settings.values import show
from jaxstyle.app.system.errors import StartError
from jaxstyle.app.system.files import explain
from jaxstyle.app.system.texts import check_commas, decode_text
from jaxstyle.common.file_kinds import describe_address

MAX_FILE_BYTES = 64_000_000


def read_grid(path: str | os.PathLike[str]) -> list[LaneValues]:
    """Read the lanes of a grid file, .toml or .csv; the module's docstring has the format.

    Raises:
      StartError: if the file can't be read, is too large, is not in the format, or holds a wrong value. The message is
        one line with the file, the line or key, and what is wrong.
    """
    if address := describe_address(os.fspath(path)):
        raise StartError(f"the grid {address}")
    path = Path(path)
    readers = {".toml": _read_toml, ".csv": _read_csv}
    if path.suffix.lower() not in readers:
        raise StartError(f"{path} is no grid file: its name must end in .toml or .csv")
    text = _read_text(path)
    try:
        return readers[path.suffix.lower()](text)
    except StartError as error:
        raise StartError(f"{path}: {error}") from error


def _read_text(path: Path) -> str:
    try:
        with path.open("rb") as file:
            data = file.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise explain(error, f"cannot read {path}") from error
    if len(data) > MAX_FILE_BYTES:
        raise StartError(f"{path} has more than {MAX_FILE_BYTES // 10**6} MB; split it into several grids")
    try:
        return decode_text(data)
    except ValueError as error:
        raise StartError(f"cannot read {path}: {error}") from error


def _read_toml(text: str) -> list[LaneValues]:
    try:
        document = tomllib.loads(text)
    except RecursionError:
        raise StartError("lists nested too deeply") from None
    except ValueError as error:
        raise StartError(f"not TOML: {error}") from error
    for name, value in document.items():
        if name not in ("product", "zip", "lane"):
            raise StartError(f"unknown key {show(name)}; valid: [product], [zip], [[lane]]")
        if not isinstance(value, list if name == "lane" else dict):
            raise StartError(f"{name} must be written as {'[[lane]]' if name == 'lane' else f'[{name}]'}")
    if "lane" in document:
        if len(document) > 1:
            raise StartError("holds [[lane]] beside [product] or [zip]; take one or the other")
        check_count(len(document["lane"]))
        return _lanes_of_toml(document["lane"])
    together = document.get("zip", {})
    axes = document.get("product", {}) | together
    if not axes:
        raise StartError("no lanes; give [product], [zip] or [[lane]]")
    both = next((name for name in together if name in document.get("product", {})), None)
    if both is not None:
        raise StartError(f"{both} is in [product] and in [zip]; keep one of them")
    return combine_values(axes, zip_=tuple(together))


def _lanes_of_toml(tables: list[Any]) -> list[LaneValues]:
    if not tables or not all(isinstance(table, dict) and table for table in tables):
        raise StartError("each lane must be a table [[lane]] with at least one setting")
    for i, table in enumerate(tables):
        for name in table:
            lane_setting(name)
        if set(table) != set(tables[0]):
            raise StartError(f"[[lane]] {i + 1} names {', '.join(table)}, but the first one {', '.join(tables[0])}")
    return _parse_lanes([(f"[[lane]] {i + 1}", table) for i, table in enumerate(tables)])


def _read_csv(text: str) -> list[LaneValues]:
    try:
        check_commas(text.lstrip().partition("\n")[0])
    except ValueError as error:
        raise StartError(str(error)) from error
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        lines = [(reader.line_num, cells) for cells in reader if "".join(cells).strip()]
    except csv.Error as error:
        raise StartError(f"line {reader.line_num}: not CSV: {error}") from error
    if len(lines) < 2:
        raise StartError("no lanes; the first line must name settings, and each further line is a lane")
    check_count(len(lines) - 1)
    names = [name.strip() for name in lines[0][1]]
    for i, name in enumerate(names):
        lane_setting(name)
        if name in names[:i]:
            raise StartError(f"{name} is in the header twice")
    for number, cells in lines[1:]:
        if len(cells) != len(names):
            raise StartError(f"line {number}: {len(cells)} values for {len(names)} settings")
    return _parse_lanes([(f"line {number}", dict(zip(names, cells, strict=True))) for number, cells in lines[1:]])


def _parse_lanes(tables: list[tuple[str, dict[str, Any]]]) -> list[LaneValues]:
    """Read lanes from pairs (where it stands in the file, {setting: value}), which all name the same settings."""
    lanes: list[LaneValues] = []
    for where, table in tables:
        lane = {}
        for name, value in table.items():
            try:
                lane[name] = lane_setting(name).parse(value)
            except StartError as error:
                raise StartError(f"{where}, {name}: {error}") from error
        lanes.append(lane)
    for name in lanes[0]:
        check_lengths(name, (lane[name] for lane in lanes))
    return lanes
