"""The command `jaxstyle`: everything that touches disk, network, clock or screen.

- `jaxstyle sweep CONTENT STYLE` makes a picture for each combination of settings, in a run folder (see `settings`,
  `pictures` and `run_folder`).
- `jaxstyle transfer CONTENT STYLE -o out.png` makes one picture (see `settings` and `image_files`).
- `jaxstyle texture STYLE -o out.png` makes a texture from noise, without a photograph (see `settings`).
- `jaxstyle select RUN` shows which lanes no other beats, and picks one (see `jaxstyle.evaluate`).
- `jaxstyle report RUN` makes the report of a run again (see `report`).
- `jaxstyle export RUN --to TOOL` writes a run for TensorBoard and other tools (see `exporting`).
- `jaxstyle animate RUN -o lane.webp` shows how a lane came about (see `sweeping`).
- `jaxstyle resume RUN` goes on with a run, and `jaxstyle merge RUN` joins its shards (see `sweeping`).
- `jaxstyle plan` says how many lanes fit on a machine, and what a step costs (see `planning`).
- `jaxstyle weights` lists, fetches, ports, normalises and verifies weights (see `weights`).

`--help` after any of them lists its options. `cli.call` is the command from Python.

## What every command holds to

An existing run or picture is never overwritten unless `--overwrite` is given, and no file is ever left half written.
With `--overwrite`, a link stays and the file behind it is replaced; without it, a link counts as existing. A picture
may fail to be written where it was to go, because the folder is gone, the disk is full, or a file of that name has
appeared. It is then kept beside it, in the working folder or in the one for temporary files, and the line of the error
says where.

An error is one line on stderr, and the exit status tells what happened:

| status | meaning |
|---|---|
| 0 | every lane finished |
| 1 | something failed on the way: a lane whose loss is not finite, a full disk |
| 2 | the job could not start as asked |
| 130, 143 | a signal stopped it |

A stdout that is full fails only commands that print a table (`select`, `plan`, `weights list`).

This wing may import every wing of the library.
"""
