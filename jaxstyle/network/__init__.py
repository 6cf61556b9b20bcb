"""Networks that turn an image into features, and the convolutions that make them fast.

On CPU, convolutions of 16 channels or more are computed by Winograd's algorithm, F(6x6, 3x3) and F(4x4, 3x3), with
kernels that are transformed once. On GPU and TPU, XLA's own convolution is used, with float32 pinned to full precision.
`js.make_features(backend="xla")` or `"winograd"` choose one everywhere. Against a float64 network, features differ by
less than 1e-5 and the image's gradient by less than 1e-4 (relative L2, in the tests). The backward pass keeps masks
instead of activations for ReLU and pooling.

`js.make_features(dtype=...)` has four precisions, named as the field names them. Gram matrices, losses, image and
optimiser are float32 in all of them; only Wasserstein's covariances are made of bfloat16 products for features of that
dtype.

| dtype | products | what it is for |
|---|---|---|
| `float32` | exact, everywhere | CPUs; the reference. GPUs leave their tensor cores, TPUs take six products |
| `tensorfloat32` | on GPUs, operands keep 10 bits | GPUs, as PyTorch convolves by default; float32 elsewhere |
| `bfloat16` | one, operands keep 8 bits | TPUs, and GPUs that have it: half of float32's activations, and the fastest |
| `bfloat16_3x` | three forward, one backward | a gradient within 1 % of float32's, at about twice the time |

The image's gradient in bfloat16 is 7 to 14 % off float32's (relative L2, bundled weights, 96 px), because sums close to
0 change sign. The picture is as good all the same: after 40 or 100 steps its float32 objective was 0.98 to 1.02 times
that of float32, which is what any small change does to an optimisation (emulated on a CPU, 112 px, three betas, L-BFGS
and Adam; `scripts/compare_precisions.py`). The command's default, `--dtype auto`, is bfloat16 where it is fast and
float32 elsewhere. `bfloat16_3x` has a loss within 0.1 % and an image gradient within 1 % of float32's with every style
loss but `sliced` (3 %: rounding changes places in its sort).

This wing imports `common` alone.
"""
