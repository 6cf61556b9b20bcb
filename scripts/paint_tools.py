"""Drawing tools for ``make_styles.py``: colour, noise, brush strokes, engraving, panes.

Pictures are double-size float arrays in 0..1, made with numpy and Pillow alone.
"""

import numpy as np
from PIL import Image, ImageFilter

WIDTH, HEIGHT, SCALE = 512, 384, 2
W, H = WIDTH * SCALE, HEIGHT * SCALE
Y, X = np.mgrid[0:H, 0:W].astype(np.float32)


def colours(*hex_codes):
    """Turn ``"rrggbb"`` strings into an (n, 3) float array in 0..1."""
    return np.array([[int(c[i : i + 2], 16) for i in (0, 2, 4)] for c in hex_codes]) / 255.0


def ramp(palette, t):
    """Look up ``t`` in 0..1 on a palette, interpolating between its colours."""
    stops = np.linspace(0, 1, len(palette))
    return np.stack([np.interp(t, stops, palette[:, c]) for c in range(3)], axis=-1)


def mix(a, b, t):
    """Blend two images; ``t`` (0..1, one value per pixel) is the share of ``b``."""
    return a + (b - a) * np.asarray(t)[..., None]


def smoothstep(low, high, value):
    """Rise smoothly from 0 at ``low`` to 1 at ``high``."""
    t = np.clip((value - low) / (high - low), 0, 1)
    return t * t * (3 - 2 * t)


def noise(rng, cell, aspect=1):
    """Smooth noise in about -1..1, ``cell`` pixels high and ``aspect`` times as wide."""
    shape = (int(H / cell) + 3, int(W / (cell * aspect)) + 3)
    grid = Image.fromarray(rng.uniform(-1, 1, shape).astype(np.float32))
    return np.asarray(grid.resize((W, H), Image.Resampling.BICUBIC))


def blur(plane, radius):
    """Gaussian-blur a picture (or one plane) after limiting it to 0..1."""
    picture = Image.fromarray(np.uint8(np.clip(plane, 0, 1) * 255 + 0.5))
    return np.asarray(picture.filter(ImageFilter.GaussianBlur(radius))) / 255.0


def save(picture, path):
    """Reduce a double-size 0..1 picture with Lanczos and write it as a JPEG."""
    full = Image.fromarray(np.uint8(np.clip(picture, 0, 1) * 255 + 0.5))
    small = full.resize((WIDTH, HEIGHT), Image.Resampling.LANCZOS)
    small.save(path, quality=90, optimize=True, subsampling="4:2:0")


def lines(phase, share):
    """Cover of engraved lines, one per unit of ``phase``, inking ``share`` of it."""
    per_pixel = np.hypot(*np.gradient(phase)) + 1e-4
    offset = np.abs(phase - np.round(phase)) / per_pixel
    return smoothstep(-0.8, 0.8, share / (2 * per_pixel) - offset)


def trace(flow, starts, steps, stride):
    """Follow the unit vector field both ways; returns (stroke, point, xy)."""
    halves = []
    for sign in (-1, 1):
        points, path = starts.copy(), []
        for _ in range(steps // 2):
            column = np.clip(points[:, 0], 0, W - 1).astype(int)
            row = np.clip(points[:, 1], 0, H - 1).astype(int)
            points = points + sign * stride * flow[row, column]
            path.append(points)
        halves.append(path)
    return np.stack(halves[0][::-1] + [starts] + halves[1], axis=1)


def draw_stroke(rng, paint, relief, path, width, colour):
    """Lay one stroke bristle by bristle into the paint and relief layers."""
    tangent = np.gradient(path, axis=0)
    normal = np.stack([-tangent[:, 1], tangent[:, 0]], axis=1)
    normal /= np.linalg.norm(normal, axis=1, keepdims=True) + 1e-6
    count = max(3, int(width / 1.9))
    load = rng.uniform(110, 170)
    for side in rng.permutation(np.linspace(-1, 1, count)):
        ragged = (1 - np.sqrt(1 - 0.96 * side * side)) * 0.24 * len(path)
        first = int(ragged + rng.uniform(0, 1.6))
        last = len(path) - int(ragged + rng.uniform(0, 2.2))
        if last - first < 2:
            continue
        line = [tuple(p) for p in path[first:last] + normal[first:last] * side * width / 2]
        bristle = rng.normal(0, 1)
        tone = np.clip(colour * (1 + 0.10 * bristle) + 0.02 * bristle, 0, 1) * 255
        height = load + 52 * np.sqrt(1 - 0.9 * side * side) + 15 * bristle
        paint.line(line, fill=tuple(int(v) for v in tone), width=3, joint="curve")
        relief.line(line, fill=int(np.clip(height, 0, 255)), width=3, joint="curve")


def stroke_layer(rng, layers, flow, target, width, steps, keep):
    """Cover the canvas with strokes of one size, where ``keep`` (a chance) allows."""
    pitch = width * 1.25
    grid = np.mgrid[0 : W + pitch : pitch * 1.6, 0 : H + pitch : pitch].reshape(2, -1).T
    starts = rng.permutation(grid + rng.uniform(-0.8, 0.8, grid.shape) * pitch)
    inside = np.clip(starts, 0, [W - 1, H - 1]).astype(int)
    wanted = rng.random(len(starts)) < keep[inside[:, 1], inside[:, 0]]
    paths = trace(flow, starts[wanted], steps, stride=max(3.0, width * 0.38))
    for path, (column, row) in zip(paths, inside[wanted], strict=True):
        colour = target[row, column]
        colour = colour * rng.normal(1, 0.2 - 0.13 * colour[2]) + rng.normal(0, 0.02, 3)
        draw_stroke(rng, *layers, path, width * rng.uniform(0.8, 1.15), colour)


def voronoi(seeds, px, py):
    """Index of the nearest seed and distance to the nearest pane border."""
    owner, edge = np.empty(px.shape, int), np.empty(px.shape, np.float32)
    for y in range(0, H, 16):
        near = np.abs(seeds[:, 1] - py[y : y + 16].mean()) < 170
        group, index = seeds[near], np.flatnonzero(near)
        dx, dy = px[y : y + 16, :, None] - group[:, 0], py[y : y + 16, :, None] - group[:, 1]
        squared = dx * dx + dy * dy
        best = squared.argmin(axis=-1)
        least = np.take_along_axis(squared, best[..., None], -1)
        gap = np.hypot(*(group[best][:, :, None] - group).transpose(3, 0, 1, 2))
        with np.errstate(divide="ignore", invalid="ignore"):
            border = np.where(gap > 0, (squared - least) / (2 * gap), np.inf)
        owner[y : y + 16], edge[y : y + 16] = index[best], border.min(axis=-1)
    return owner, edge
