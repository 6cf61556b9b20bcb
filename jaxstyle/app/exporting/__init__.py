"""Writes runs into the formats of other tools, a module a tool; a tool is imported only when it is asked for.

    pip install ".[tensorboard]"      # or wandb, trackio, optuna, parquet
    jaxstyle export runs/first --to tensorboard

writes a finished run into the format of another tool: a run or a trial for each lane, with its settings, losses by
step, final losses and metrics, and picture.

| `--to` | what it writes | by default into |
|---|---|---|
| `tensorboard` | a folder of event files a lane: scalars, hyperparameters, image | `RUN/exports/tensorboard` |
| `wandb` | a run a lane, offline; `wandb sync` uploads them | `RUN/exports/wandb` |
| `trackio` | a run a lane, in the project jaxstyle of Trackio's own store | that store |
| `optuna` | an SQLite file: a study a pair of images, a trial a lane | `RUN/exports/optuna.db` |
| `artfid` | folders of stylized, content and style images, as ArtFID's program reads them | `RUN/exports/artfid` |
| `parquet` | `lanes.parquet` with the pictures in a column, and `history.parquet` | `RUN/exports/parquet` |

`WANDB_MODE=online` uploads at once, and `TRACKIO_DIR` names Trackio's store. The values of Optuna's trials are content
and style loss. `--out` names another place, and nothing is replaced but an earlier export with `--overwrite`.

While a run goes on, `jaxstyle sweep ... --log tensorboard` (or `wandb`, `trackio`; `resume` takes it, too) logs the
losses of every lane after each chunk, as `total/lane_0003`. A log that fails costs a line, not the run.
`jaxstyle.load_run("runs/first").to_pandas()` returns the tables (with the extra `pandas`), and
`scripts/examples/optuna_rounds.py` lets Optuna choose settings.

It may import `run_folder` and all wings below.
"""
