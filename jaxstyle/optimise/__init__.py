"""The optimisation of one picture: transfer, optimisers, stopping, averaging, coarse to fine, presets.

`make_transfer` takes `lbfgs` or any optax transformation of one image (`lookahead`, `sam`, `dpsgd` and `sophia` want
more). Weights and parameters are arguments, so new values never recompile. With `lbfgs`, `state.picture` is the best
image so far, and `state.image` the next to try. A loop of your own over `transfer.step` calls `js.prepare(params)` once
before it, which transforms the frozen kernels for Winograd convolutions on CPU; `run` and `js.sweep` do so themselves.

`pyramid` goes from coarse to fine, `stopping` stops lanes, and `averaging` averages images. `presets.build("gatys")`
gives features, objective, transfer, weights and start of a well-known program. Outside of this wing, `jaxstyle.colour`
keeps the content's colours.

This wing imports `objective`, `network`, `colour` and `common`.
"""
