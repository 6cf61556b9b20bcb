"""Gradients of a transfer's result with respect to its weights, targets and start: beta or the style image, say.

`run_checkpointed.run_checkpointed` is `js.run` for gradients through all steps.
`implicit_gradient.implicit_gradient` needs no steps at all where a transfer has converged.
`scripts/examples/hypergradient.py` finds the beta of a wanted picture so.

This wing imports `optimise` and the wings that `optimise` imports.
"""
