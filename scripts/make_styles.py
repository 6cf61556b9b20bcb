"""Paint the three sample style images: ``swirls``, ``mosaic`` and ``woodcut``.

Everything is drawn from seeded random numbers with numpy and Pillow alone, at
twice the final size, then reduced with a Lanczos filter.  The images are
original works of the jaxstyle project, dedicated to the public domain
(CC0-1.0).  Usage: ``python make_styles.py [OUTPUT_DIRECTORY]``.
"""

import sys
from pathlib import Path

import numpy as np
from paint_tools import (
    H,
    W,
    X,
    Y,
    blur,
    colours,
    lines,
    mix,
    noise,
    ramp,
    save,
    smoothstep,
    stroke_layer,
    voronoi,
)
from PIL import Image, ImageDraw

# Swirls
NIGHT = colours("0a1240", "12227a", "1c3fa8", "2a6cc4", "3fa0d8", "16808f", "0f2f7c", "7fd0cf")
STAR = colours("1f7fb0", "2fa79a", "b98a1c", "e79a12", "ffc21f", "ffe46a", "fffbe0")
HILL = colours("060b26", "0c1f4a", "0e3d57", "1f5f5a", "8f8a38", "14285e")
CREAM = colours("f2e7a0")[0]
# Each vortex: centre x and y, radius, sense of turning; in double-size pixels.
HIGH_STARS = [(118, 120, 62, 1), (330, 78, 40, -1), (884, 142, 92, 1), (690, 76, 38, 1)]
LOW_STARS = [(96, 344, 46, -1), (610, 470, 34, 1), (260, 486, 40, 1), (936, 400, 44, -1)]
STARS = HIGH_STARS + LOW_STARS
EDDIES = [(440, 270, 130, 1), (664, 306, 104, -1), (240, 250, 70, -1), (820, 540, 90, 1)]


def stream_function(rng):
    """Stream function of the night wind: drift, noise, eddies and stars."""
    psi = 1.1 * (Y + 34 * np.sin(X / 150) + 20 * np.sin(X / 67 + Y / 90))
    psi += 34 * noise(rng, 170) + 12 * noise(rng, 80)
    for x, y, radius, spin in EDDIES + STARS:
        strength = 3.4 if (x, y, radius, spin) in EDDIES else 5.0
        squared = ((X - x) ** 2 + (Y - y) ** 2) / radius**2
        psi += strength * spin * radius * np.exp(-squared / 2)
    return psi


def hill_depth(rng):
    """Signed depth in pixels below the skyline of the dark hills."""
    skyline = 640 + 46 * np.sin(X / 170 + 0.6) + 22 * np.sin(X / 71) - 40 * X / W
    return Y - skyline + 5 * noise(rng, 60)


def night_colours(rng, psi, depth):
    """Colour each stroke should take: banded sky, glowing stars, dark hills."""
    bands = 0.5 + 0.5 * np.sin(psi / 21 + 0.8 * noise(rng, 90))
    picture = ramp(NIGHT, np.clip(0.78 * bands + 0.16 * noise(rng, 40) + 0.08, 0, 1))
    for x, y, radius, _ in EDDIES[:3]:
        distance = np.hypot(X - x, Y - y) / radius
        rings = smoothstep(0.72, 0.9, 0.5 + 0.5 * np.sin(psi / 17))
        picture = mix(picture, CREAM, smoothstep(0.38, 0.55, rings * np.exp(-(distance**2) / 2.2)))
    for x, y, radius, _ in STARS:
        distance = np.hypot(X - x, Y - y) / radius
        heat = 1.08 - 0.7 * distance + 0.13 * np.sin(distance * 19)
        picture = mix(picture, ramp(STAR, np.clip(heat, 0, 1)), smoothstep(1.4, 1.2, distance))
    terraces = 0.5 + 0.5 * np.sin(depth / 13 + 1.5 * noise(rng, 120))
    return mix(picture, ramp(HILL, terraces), smoothstep(-4, 4, depth))


def paint_swirls():
    """A night sky of eddies and stars in thick strokes, lit from upper left."""
    rng = np.random.default_rng(1889)
    psi, depth = stream_function(rng), hill_depth(rng)
    target = night_colours(rng, psi, depth)
    down, across = np.gradient(np.where(depth > 0, depth + 14 * noise(rng, 90), psi))
    flow = np.stack([down, -across], axis=-1)
    flow /= np.linalg.norm(flow, axis=-1, keepdims=True) + 1e-6
    colour_layer = Image.fromarray(np.uint8(np.clip(target * 0.6, 0, 1) * 255))
    relief_layer = Image.new("L", (W, H), 90)
    layers = ImageDraw.Draw(colour_layer), ImageDraw.Draw(relief_layer)
    contrast = np.clip(45 * np.hypot(*np.gradient(blur(target.mean(axis=-1), 5))), 0, 1)
    for width, steps, keep in (
        (30, 14, contrast + 1),
        (20, 14, contrast + 1),
        (13, 14, contrast + 0.4),
        (8, 12, contrast * 0.8),
    ):
        stroke_layer(rng, layers, flow, target, width, steps, keep)
    slope_y, slope_x = np.gradient(blur(np.asarray(relief_layer) / 255.0, 1.1))
    light = -(slope_x + slope_y)
    painted = np.asarray(colour_layer) / 255.0 * (1 + np.clip(3.4 * light, -0.6, 0.65))[..., None]
    return 1.06 * painted + np.clip(light - 0.05, 0, 0.25)[..., None]


# Mosaic
RUBY = colours("4a0616", "8e0f22", "c81d25", "e8472b", "f0722e")
AMBER = colours("7a2b08", "c25a0c", "ee8f14", "fbb92a", "ffe083")
JEWEL = colours("0b1f4e", "123f8c", "1a6fb0", "22a0a8", "7fd1a0")
VINE = colours("123020", "1f5a36", "4f8a2f", "a3b436", "e0cf5a")
SUN = (610, 330)
SUN_REACH = (20, 70, 116, 165, 216, 275)
SUN_GLASS = (AMBER, AMBER, AMBER, RUBY, AMBER, JEWEL)
SUN_LEVEL = (1.0, 0.88, 0.62, 0.62, 0.5, 0.4)


def pane_seeds(rng):
    """Seeds of the panes: rings around a sun, then a jittered scatter beyond."""
    seeds = [SUN]
    for ring, (count, radius) in enumerate(((7, 46), (14, 92), (21, 140), (28, 190), (28, 242))):
        turn = 2 * np.pi * (np.arange(count) + 0.5 * (ring % 2)) / count
        reach = radius + rng.uniform(-5, 5, count)
        seeds += [*(np.stack([np.cos(turn), np.sin(turn)]) * reach).T + SUN]
    pitch = 50
    for row, y in enumerate(np.arange(-pitch, H + pitch, pitch * 0.9)):
        for x in np.arange(-pitch, W + pitch, pitch) + (row % 2) * pitch / 2:
            px, py = np.array([x, y]) + rng.uniform(-0.36, 0.36, 2) * pitch
            if np.hypot(px - SUN[0], py - SUN[1]) > 275:
                seeds.append((px, py))
    return np.array(seeds, dtype=np.float32)


def pane_palette(rng, x, y):
    """Choose a palette and lightness for the pane seeded at (x, y)."""
    distance = np.hypot(x - SUN[0], y - SUN[1])
    for reach, palette, level in zip(SUN_REACH, SUN_GLASS, SUN_LEVEL, strict=True):
        if distance < reach:
            return palette, level + rng.normal(0, 0.09)
    wave = np.sin(distance / 52 + 0.9 * np.sin(np.arctan2(y - SUN[1], x - SUN[0]) * 3))
    pull = wave + rng.normal(0, 0.25)
    palette = AMBER if pull > 0.55 else RUBY if pull > -0.55 else JEWEL
    meadow = y > 600 + 40 * np.sin(x / 120) and rng.random() < 0.75
    return VINE if meadow else palette, 0.45 + rng.normal(0, 0.16)


def paint_mosaic():
    """A leaded window: a sun of amber and ruby panes in waves of jewel glass."""
    rng = np.random.default_rng(1242)
    seeds = pane_seeds(rng)
    px, py = X + 5 * noise(rng, 60), Y + 5 * noise(rng, 60)
    owner, edge = voronoi(seeds, px, py)
    tilt = rng.uniform(0, 2 * np.pi, len(seeds))
    dx, dy = px - seeds[owner, 0], py - seeds[owner, 1]
    cos, sin = np.cos(tilt)[owner], np.sin(tilt)[owner]
    slope = (dx * cos + dy * sin) / 60
    streaks = np.sin((dy * cos - dx * sin) / 3.2 + 2.6 * noise(rng, 26)) + 1.2 * noise(rng, 9)
    window = np.zeros((H, W, 3))
    for pane in np.unique(owner):
        inside = owner == pane
        palette, level = pane_palette(rng, *seeds[pane])
        shade = level + 0.5 * slope[inside] + 0.075 * streaks[inside]
        window[inside] = ramp(palette, np.clip(shade, 0, 1))
    daylight = 0.86 + 0.3 * np.exp(-(np.hypot(X - SUN[0], Y - SUN[1]) ** 2) / 300**2)
    window *= (daylight * (0.72 + 0.36 * smoothstep(3, 20, edge)))[..., None]
    lead_width = 4.6 + 1.2 * noise(rng, 50)
    slope_y, slope_x = np.gradient(blur(smoothstep(0, 5, edge), 1.5))
    shine = 0.07 + 0.9 * np.clip(slope_x + slope_y, 0, 0.25)
    lead = shine[..., None] * np.array([1.0, 0.92, 0.86])
    window = mix(lead, window, smoothstep(-0.9, 0.9, edge - lead_width))
    return window + 0.55 * blur(window - 0.35, 16)


# Woodcut
PAPER, INDIGO, BLUE, VERMILION = colours("f5e8cb", "14224d", "4f83ab", "d23a1e")
DISC = (322, 214, 128)
# Each wave: mean height, crest x positions, crest height, width and curl.
WAVES = [
    (404, (180, 640, 930), 46, 110, 0.9),
    (486, (60, 470, 800), 96, 120, 1.5),
    (600, (250, 690, 1040), 118, 130, 1.7),
    (716, (40, 480, 900), 120, 140, 1.7),
    (812, (300, 740, 1080), 110, 150, 1.6),
]


def breaking_wave(rng, base, crests, height, width, curl):
    """Distance below a breaking wave's surface, and position along it."""
    px, py = X + 4 * noise(rng, 90), Y + 4 * noise(rng, 90)
    for crest in crests:
        cx, cy, reach = crest + 0.15 * width, base - 0.62 * height, 0.62 * width
        dx, dy = px - cx, py - cy
        turn = curl * np.exp(-(dx * dx + dy * dy) / reach**2)
        cos, sin = np.cos(turn), np.sin(turn)
        px, py = cx + dx * cos + dy * sin, cy - dx * sin + dy * cos
    surface = base + 8 * np.sin(px / 60)
    for crest in crests:
        surface = surface - height * np.exp(-(np.abs((px - crest) / width) ** 1.5) * 2.2)
    return py - surface, px


def print_sky(rng):
    """Paper, sunset lines that swell towards the top, and a vermilion disc."""
    x, y, radius = DISC
    drift = Y + 6 * noise(rng, 60, aspect=4) + 9 * np.sin(X / 110 + Y / 60)
    top = smoothstep(330, -20, Y + 20 * noise(rng, 120))
    halo = smoothstep(radius + 6, radius + 70, np.hypot(X - x, Y - y))
    sky = mix(PAPER, BLUE, 0.75 * smoothstep(0.45, 1.0, top) * halo)
    sky = mix(sky, INDIGO, lines(drift / 15, (0.08 + 0.72 * top) * halo))
    low = smoothstep(190, 400, Y) * halo
    sky = mix(sky, VERMILION, lines(drift / 15 + 0.5, 0.62 * low))
    disc = smoothstep(1, -1, np.hypot(X - x, Y - y) - radius + 1.5 * noise(rng, 20))
    cuts = lines(drift / 15, 0.06 + 0.5 * smoothstep(-0.3, 1, (Y - y) / radius))
    return mix(sky, VERMILION, disc * (1 - cuts))


def print_wave(rng, picture, wave):
    """Print one wave: blue bands, engraved indigo lines and a foaming crest."""
    depth, along = breaking_wave(rng, *wave)
    foam = depth - 9 - 17 * np.abs(np.sin(along / 11 + 0.6 * noise(rng, 70)))
    bands = smoothstep(-0.1, 0.1, np.sin(depth / 27 + 1.2 * noise(rng, 130)))
    water = mix(PAPER, BLUE, bands * (0.9 + 0.1 * noise(rng, 12)))
    slope_y, slope_x = np.gradient(depth)
    shade = 0.4 + 0.3 * slope_x / np.hypot(slope_x, slope_y) + 0.2 * noise(rng, 60)
    share = np.clip(shade + 0.3 * smoothstep(20, 170, depth), 0.1, 0.86)
    water = mix(water, INDIGO, lines((depth + 1.5 * noise(rng, 25)) / 15, share))
    water = mix(water, INDIGO, smoothstep(5, 3, np.abs(foam)))
    water = mix(water, PAPER, smoothstep(0, -2, foam + 3))
    water = mix(water, INDIGO, smoothstep(6.5, 4.5, depth))
    return mix(picture, water, smoothstep(-1, 1, depth))


def paint_woodcut():
    """Breaking waves under a red sun, cut in indigo, blue, cream, vermilion."""
    rng = np.random.default_rng(1831)
    picture = print_sky(rng)
    for wave in WAVES:
        picture = print_wave(rng, picture, wave)
    grain = noise(rng, 3, aspect=14) + 0.8 * noise(rng, 5)
    worn = mix(picture, PAPER, 0.16 * smoothstep(0.1, 1.1, grain))
    return worn * (1 + 0.03 * noise(rng, 3))[..., None]


def main():
    """Write the three JPEG files into the directory named on the command line."""
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else ".")
    folder.mkdir(parents=True, exist_ok=True)
    styles = {"swirls": paint_swirls, "mosaic": paint_mosaic, "woodcut": paint_woodcut}
    for name, paint in styles.items():
        save(paint(), folder / f"{name}.jpg")


if __name__ == "__main__":
    main()
