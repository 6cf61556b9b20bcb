"""Metrics in float64 NumPy, written from the papers and sharing no code with jaxstyle."""

import numpy as np

from tests.reference import numpy_vgg

SHIFT = np.array([-0.030, -0.088, -0.188])
SCALE = np.array([0.458, 0.448, 0.450])


def conv(x, kernel, bias, stride, padding):
    size = kernel.shape[0]
    padded = np.pad(x, ((padding, padding), (padding, padding), (0, 0)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (size, size), axis=(0, 1))[::stride, ::stride]
    return np.einsum("hwcij,ijcd->hwd", windows, kernel, optimize=True) + bias


def pool(x):
    return np.lib.stride_tricks.sliding_window_view(x, (3, 3), axis=(0, 1))[::2, ::2].max(axis=(3, 4))


def alexnet(x, convolutions):
    """The five feature maps of x, already scaled; `convolutions` is a list of (kernel, bias)."""
    found = []
    for i, ((kernel, bias), stride, padding) in enumerate(
        zip(convolutions, (4, 1, 1, 1, 1), (2, 2, 1, 1, 1), strict=True)
    ):
        if i in (1, 2):
            x = pool(x)
        x = np.maximum(conv(x, np.float64(kernel), np.float64(bias), stride, padding), 0)
        found.append(x)
    return found


def lpips_features(tensors, network):
    """image -> five feature maps. `tensors`: of a file, with torchvision's deviation folded into the first kernel."""
    if network == "alex":
        names = [f"conv{i}" for i in range(1, 6)]
    else:
        names = [f"conv{b}_{i}" for b, n in enumerate((2, 2, 3, 3, 3), 1) for i in range(1, n + 1)]
    convolutions = [[np.float64(tensors[f"{n}/{k}"]) for k in ("kernel", "bias")] for n in names]
    convolutions[0][0] = convolutions[0][0] * np.array([0.229, 0.224, 0.225])[:, None]

    def features(image):
        x = (2 * np.float64(image) - 1 - SHIFT) / SCALE
        if network == "alex":
            return alexnet(x, convolutions)
        found = numpy_vgg.features(x, np.zeros(3), convolutions, numpy_vgg.VGG16)
        return [found[f"relu{layer}"] for layer in ("1_2", "2_2", "3_3", "4_3", "5_3")]

    return features


def lpips(features, heads, image_a, image_b):
    total = 0.0
    for head, *maps in zip(heads, features(image_a), features(image_b), strict=True):
        a, b = (f.reshape(-1, f.shape[-1]) for f in maps)
        a, b = (f / (np.linalg.norm(f, axis=1, keepdims=True) + 1e-10) for f in (a, b))
        total += np.mean((a - b) ** 2 @ np.float64(head))
    return total


def gram_distance(features, images, styles):
    """`images` and `styles`: the same picture at each scale."""
    terms = []
    for image, style in zip(images, styles, strict=True):
        for f, s in zip(features(image), features(style), strict=True):
            g, a = numpy_vgg.gram(f), numpy_vgg.gram(s)
            terms.append(np.sqrt(np.sum((g - a) ** 2) / np.sum(a**2)))
    return np.mean(terms)


def sliced_distance(features, images, styles, directions):
    """`images` and `styles`: the same picture at each scale; `directions`: (channels, number) for each layer."""
    levels = (np.arange(256) + 0.5) / 256
    terms = []
    for image, style in zip(images, styles, strict=True):
        for f, s, lines in zip(features(image), features(style), directions, strict=True):
            lines = np.float64(lines) / np.linalg.norm(np.float64(lines), axis=0)
            a, b = (np.quantile(x.reshape(-1, x.shape[-1]) @ lines, levels, axis=0) for x in (f, s))
            if s.shape[:2] == (1, 1):
                continue
            terms.append(np.sqrt(np.mean((a - b) ** 2) / np.mean(np.var(b, axis=0))))
    return np.mean(terms)


def halve(image):
    """Even sizes only: the triangle filter of width 2 at half size, renormalised at the border."""
    for axis in (0, 1):
        n = image.shape[axis]
        centres = np.arange(n // 2) * 2 + 0.5
        weights = np.maximum(0, 1 - np.abs(centres[:, None] - np.arange(n)) / 2)
        weights /= weights.sum(1, keepdims=True)
        image = np.moveaxis(np.tensordot(weights, image, (1, axis)), 0, axis)
    return image


def luminance(image):
    return np.float64(image) @ [0.299, 0.587, 0.114]


def ssim(image_a, image_b):
    offsets = np.arange(11) - 5
    window = np.exp(-(offsets[:, None] ** 2 + offsets**2) / (2 * 1.5**2))
    window /= window.sum()
    values = []
    patches = (np.lib.stride_tricks.sliding_window_view(luminance(i), (11, 11)) for i in (image_a, image_b))
    for a, b in zip(*(p.reshape(-1, 11, 11) for p in patches), strict=True):
        ma, mb = np.sum(window * a), np.sum(window * b)
        va, vb = np.sum(window * (a - ma) ** 2), np.sum(window * (b - mb) ** 2)
        cov = np.sum(window * (a - ma) * (b - mb))
        values.append((2 * ma * mb + 1e-4) * (2 * cov + 9e-4) / ((ma**2 + mb**2 + 1e-4) * (va + vb + 9e-4)))
    return np.mean(values)


def edge_similarity(image_a, image_b):
    prewitt = np.array([[1, 0, -1]] * 3) / 3
    magnitudes = []
    for image in (image_a, image_b):
        x = luminance(image) * 255
        x = (x[::2, ::2] + x[1::2, ::2] + x[::2, 1::2] + x[1::2, 1::2]) / 4  # even sizes only
        patches = np.lib.stride_tricks.sliding_window_view(x, (3, 3))
        magnitudes.append(np.hypot(*(np.einsum("hwij,ij->hw", patches, k) for k in (prewitt, prewitt.T))))
    a, b = magnitudes
    return np.mean((2 * a * b + 170) / (a**2 + b**2 + 170))


def cielab(image):
    image = np.float64(image)
    linear = np.where(image <= 0.04045, image / 12.92, ((image + 0.055) / 1.055) ** 2.4)
    matrix = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
    xyz = linear @ matrix.T / [0.9505, 1, 1.0890]
    f = np.where(xyz > 216 / 24389, np.cbrt(xyz), (24389 / 27 * xyz + 16) / 116)
    x, y, z = np.moveaxis(f, -1, 0)
    return np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], -1)


def square_root(matrix):
    values, vectors = np.linalg.eigh(matrix)
    return (vectors * np.sqrt(np.maximum(values, 0))) @ vectors.T


def frechet(a, b):
    """The textbook's formula of two samples (n, d), not negative where they are alike to rounding."""
    c, d = np.cov(a.T), np.cov(b.T)
    root = square_root(c)
    distance = np.trace(c + d - 2 * square_root(root @ d @ root))
    return np.sum((a.mean(0) - b.mean(0)) ** 2) + max(distance, 0)
