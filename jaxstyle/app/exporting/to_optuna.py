"""Exports to Optuna: an SQLite file with a study for each pair of images, and a trial for each lane.

A trial's two values are the content and the style loss of its picture, both to be minimised. Its parameters are the
lane's settings; its attributes are the metrics and the picture's file.
"""

import sqlite3
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jaxstyle.app.exporting.finished_lanes import FinishedLane

_OBJECTIVES = ("content_loss", "style_loss")


def export(lanes: Sequence[FinishedLane], name: str, place: Path) -> None:
    """Write the studies; `optuna-dashboard sqlite:///FILE` shows them."""
    import optuna  # pyright: ignore[reportMissingImports]

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    # An address would give characters of the file's name a meaning.
    storage = optuna.storages.RDBStorage("sqlite://", {"creator": lambda: sqlite3.connect(place)})
    pairs: dict[str, list[FinishedLane]] = {}
    for lane in lanes:
        files = (lane.settings["content"], lane.settings["style"])
        pairs.setdefault(f"{name}: {files[0]} in the style of {files[1]}", []).append(lane)
    for title, of_pair in pairs.items():
        study = optuna.create_study(storage=storage, study_name=title, directions=["minimize", "minimize"])
        with warnings.catch_warnings(action="ignore"):  # the method is called experimental
            study.set_metric_names(list(_OBJECTIVES))
        space = {key: _distribution([lane.settings[key] for lane in of_pair]) for key in _parameters(of_pair[0])}
        study.add_trials([_trial(lane, space) for lane in of_pair])
    storage.remove_session()
    storage.engine.dispose()


def _parameters(lane: FinishedLane) -> list[str]:
    return [name for name in lane.settings if name not in ("content", "style")]


def _distribution(values: list[Any]) -> Any:
    from optuna.distributions import CategoricalDistribution, FloatDistribution  # pyright: ignore[reportMissingImports]

    if all(isinstance(value, float | int) for value in values):
        return FloatDistribution(min(values), max(values), log=0 < min(values) < max(values))
    return CategoricalDistribution(list(dict.fromkeys(map(str, values))))


def _trial(lane: FinishedLane, space: dict[str, Any]) -> Any:
    from optuna.distributions import CategoricalDistribution  # pyright: ignore[reportMissingImports]
    from optuna.trial import TrialState, create_trial  # pyright: ignore[reportMissingImports]

    done = lane.ok and all(name in lane.values for name in _OBJECTIVES)
    params = {name: lane.settings[name] for name in space}
    texts = {name: str(params[name]) for name, one in space.items() if isinstance(one, CategoricalDistribution)}
    totals = zip(lane.steps.tolist(), lane.losses["total"].tolist(), strict=True) if lane.losses else ()
    picture = str(lane.picture.absolute()) if lane.picture else ""
    return create_trial(
        state=TrialState.COMPLETE if done else TrialState.FAIL,
        values=[lane.values[name] for name in _OBJECTIVES] if done else None,
        params=params | texts,
        distributions=space,
        user_attrs={"lane": lane.number, "picture": picture, "reason": lane.reason, **lane.values},
        intermediate_values=dict(totals),
    )
