"""Plan what fits on a machine and what a step costs, by compiling and without running anything.

`jaxstyle plan` says how many lanes of a size fit and what a step costs: for the devices that are here, or with
`--topology v5e:2x2` for a TPU that is not (with the extra `plan`). With `--rows` it says how large one picture can be
whose rows all devices share: 6016x6016 pixels on the four chips of v5e:2x2 (bfloat16_3x, Adam; `jaxstyle plan --rows
--topology v5e:2x2 --size 6016 --dtype bfloat16_3x --optimizer adam --style-loss wasserstein`).

This wing imports `network`, `objective`, `optimise`, `parallel`, `pretrained`, and the app's `system` and `execution`.
"""
