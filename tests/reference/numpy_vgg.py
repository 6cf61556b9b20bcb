"""VGG in float64 NumPy, written from the paper and sharing no code with jaxstyle."""

import numpy as np

VGG16 = "64 64 M 128 128 M 256 256 256 M 512 512 512 M 512 512 512 M"
VGG19 = "64 64 M 128 128 M 256 256 256 256 M 512 512 512 512 M 512 512 512 512 M"


PADDINGS = {"zero": "constant", "replicate": "edge"}
"""NumPy's names of them."""


def conv(x, kernel, bias, padding="constant"):
    padded = np.pad(x, ((1, 1), (1, 1), (0, 0)), padding)
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(0, 1))  # h, w, c, 3, 3
    return np.einsum("hwcij,ijcd->hwd", windows, kernel, optimize=True) + bias


def conv_transposed(g, kernel, padding="constant"):
    """Gradient of `conv` with respect to x, of a cotangent g: what each input pixel gave, place by place."""
    h, w, _ = g.shape
    back = np.zeros((h, w, kernel.shape[2]))
    for y, x, i, j in np.ndindex(h, w, 3, 3):
        row, column = y + i - 1, x + j - 1
        if padding == "edge":
            row, column = min(max(row, 0), h - 1), min(max(column, 0), w - 1)
        if 0 <= row < h and 0 <= column < w:
            back[row, column] += kernel[i, j] @ g[y, x]
    return back


def pool(x, how):
    h, w = x.shape[0] // 2, x.shape[1] // 2
    blocks = x[: 2 * h, : 2 * w].reshape(h, 2, w, 2, -1)
    return {"max": blocks.max, "average": blocks.mean, "scaled_average": lambda axis: 1.7 * blocks.mean(axis)}[how](
        (1, 3)
    )


def features(image, mean, convolutions, plan, pooling="max", padding="constant"):
    """{layer: (h, w, c)} of all layers; `convolutions` is a list of (kernel, bias) in order."""
    x = np.asarray(image, np.float64) - np.asarray(mean, np.float64)
    found, block, index = {}, 1, 0
    remaining = iter(convolutions)
    for word in plan.split():
        if word == "M":
            x = found[f"pool{block}"] = pool(x, pooling)
            block, index = block + 1, 0
            continue
        index += 1
        kernel, bias = (np.asarray(a, np.float64) for a in next(remaining))
        assert kernel.shape[-1] == int(word)
        x = found[f"conv{block}_{index}"] = conv(x, kernel, bias, padding)
        x = found[f"relu{block}_{index}"] = np.maximum(x, 0)
    return found


def gram(f):
    flat = f.reshape(-1, f.shape[-1])
    return flat.T @ flat / len(flat)
