"""Networks that turn an image into features, and the convolutions that make them fast.

On CPU, convolutions of 16 channels or more are computed by Winograd's algorithm, F(6x6, 3x3) and F(4x4, 3x3), with
kernels that are transformed once. On GPU and TPU, XLA's own convolution is used, with float32 pinned to full precision.
`js.make_features(backend="xla")` or `"winograd"` choose one everywhere. Against a float64 network, features differ by
less than 1e-5 and the image's gradient by less than 1e-4 (relative L2, in the tests). The backward pass keeps masks
instead of activations for ReLU and pooling.

`js.make_features(dtype="bfloat16")` is for TPUs and GPUs. Its loss is within 0.1 % and its image gradient within 1 % of
float32's (relative L2, bundled weights, 96 px) with every style loss but `sliced` (3 %: rounding changes places in its
sort). One bfloat16 product for one of float32 would not do: sums close to 0 change sign, and the gradient is off by 7
to 14 %. So the forward pass takes three, the backward pass one; Gram matrices, losses, image and optimiser stay
float32.

This wing imports `common` alone.
"""
