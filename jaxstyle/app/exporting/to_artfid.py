"""Exports to the three folders that ArtFID's program reads (Wright and Ommer, arXiv 2207.12280; PyPI's art-fid).

It takes stylized images and their content and style images in the order of their names, as many of each.
"""

import shutil
from collections.abc import Sequence
from pathlib import Path

from jaxstyle.app.exporting.finished_lanes import FinishedLane
from jaxstyle.app.system.errors import StartError

_FOLDERS = ("stylized", "content", "style")


def export(lanes: Sequence[FinishedLane], name: str, place: Path) -> None:
    """Copy the picture, content and style image of each lane, all of which are `whole`, into folders, under one name.

    Raises:
      StartError: if there are no lanes.
    """
    if not lanes:
        raise StartError(f"no lane of {name} has its picture, content and style image")
    for i, folder in enumerate(_FOLDERS):
        (place / folder).mkdir(parents=True)
        for lane in lanes:
            shutil.copyfile(str((lane.picture, *lane.inputs)[i]), place / folder / f"{lane.name}.png")
