"""Many pictures at once, as vmapped lanes, and one picture over many devices.

`sweep` runs a transfer for each lane of a `weight_grid`, jitted, and compiled once for each transfer. `losses.total[:,
i]` belongs to the images before step i, and `final` to the images that it returns. A lane gives what it would give
alone, to rounding, and a lane whose loss is not finite changes no bit of the others.

- Every leaf of `LossWeights` may differ between lanes, `js.stack_targets` gives lanes different photographs and styles,
  and `hyperparams={"learning_rate": rates}` gives each its own rate, where `optax.inject_hyperparams` made the
  optimiser.
- `microbatch=4` computes four lanes at a time, so that memory doesn't grow with the lanes; "auto" takes as many as suit
  the device.
- `mesh=jax.make_mesh((8,), ("lanes",))` shares the lanes out among eight devices
  (`scripts/examples/lanes_over_a_mesh.py`). On several hosts, call `jax.distributed.initialize()` first, and give all
  processes the same arguments and a mesh of all `jax.device_count()` devices. Each process then holds the lanes of its
  own devices, as `result.images.addressable_shards`.
- `on_chunk=function` is called every 25 steps, and a sweep goes on from `result.state` in the place of the image.
- `plan` takes the arguments of `sweep`, or their shapes, compiles it for the devices of `mesh` without running it, and
  says how much memory it will take on each.
- `shard_rows` shares the rows of one large image out among devices.

This wing imports `optimise` and the wings that `optimise` imports.
"""
