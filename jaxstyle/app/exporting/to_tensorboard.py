"""Exports and logs to TensorBoard, by tensorboardX: a folder of event files a lane."""

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from jaxstyle.app.exporting.finished_lanes import FinishedLane


def export(lanes: Sequence[FinishedLane], name: str, place: Path) -> None:
    """Write the lanes: losses as scalars, settings and final numbers as hyperparameters, the picture as an image."""
    from tensorboardX import SummaryWriter  # pyright: ignore[reportMissingImports]
    from tensorboardX.summary import hparams  # pyright: ignore[reportMissingImports]

    del name
    for lane in lanes:
        with SummaryWriter(str(place / lane.name)) as writer:
            for series, values in lane.losses.items():
                for step, value in zip(lane.steps.tolist(), values.tolist(), strict=True):
                    writer.add_scalar(series, value, step)
            last = int(lane.steps[-1]) if len(lane.steps) else 0
            final = {f"final/{series}": value for series, value in lane.values.items()}
            for series, value in final.items():
                writer.add_scalar(series, value, last)
            # add_hparams would write them into a run of its own.
            for summary in hparams(lane.settings, final):
                assert writer.file_writer is not None
                writer.file_writer.add_summary(summary)
            if lane.picture:
                with Image.open(lane.picture) as image:
                    writer.add_image("picture", np.asarray(image.convert("RGB")), last, dataformats="HWC")


@contextlib.contextmanager
def log(name: str, options: Mapping[str, Any], folder: Path) -> Iterator[Callable[[int, Mapping[str, float]], None]]:
    """Log a run that goes on into its folder `tensorboard`."""
    from tensorboardX import SummaryWriter  # pyright: ignore[reportMissingImports]

    with SummaryWriter(str(folder / "tensorboard")) as writer:
        writer.add_text("options", "\n".join(f"    {key}: {value}" for key, value in {"run": name, **options}.items()))

        def write(step: int, values: Mapping[str, float]) -> None:
            for series, value in values.items():
                writer.add_scalar(series, value, step)
            writer.flush()

        yield write
