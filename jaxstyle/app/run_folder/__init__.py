"""Run folders on disk: makes them, writes run.json, and reads runs back.

- `run.json`: the command, with every default filled in; inputs, versions, device, weight set with sha256; written
  first.
- `lanes.csv`: a row a lane: images, settings, losses of its final picture (without alpha, beta) in all and by layer,
  metrics, steps, retries, `ok` or `failed`.
- `history.csv`: `content_loss`, `style_loss`, `tv_loss`, `total` of every lane after 0, 1, 2, ... steps.
- `images/lane_0000.png` ...: the pictures; each holds its lane's settings as PNG text; beside them the inputs as used.
- `sheet.png`, `report.html`: all lanes, labelled; all lanes to look at, compare and pick.

`jaxstyle.load_run(RUN)` reads a finished folder back: settings, tables, images as arrays. A progress line shows the
losses before its step, a table those of the pictures. alpha and beta mean nothing without the convention, so every run
records it.

This wing may import `execution` and all wings below that.
"""
