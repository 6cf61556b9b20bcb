"""Makes up run folders as the command writes them: pictures between content and style, and losses that trade off."""

import csv
import hashlib
import io
import itertools
import json

import numpy as np
from PIL import Image

from jaxstyle.app.pictures.read_image import SAMPLES
from tests.command import read_table

LAYERS = ["style_relu1_1", "style_relu2_1", "style_relu3_1", "style_relu4_1", "style_relu5_1"]
COLUMNS = {
    "settings": ["alpha", "beta", "tv", "seed"],
    "losses": ["content_loss", "style_loss", "tv_loss", "total"],
    "layers": LAYERS,
    "metrics": ["lpips", "ssim", "style_distance"],
}
OPTIONS = {
    "size": 64,
    "style_scale": 1.0,
    "steps": 30,
    "optimizer": "adam",
    "learning_rate": 0.03,
    "convention": "mean",
}


def sample(name, size):
    with Image.open(SAMPLES / f"{name}.jpg") as image:
        image.thumbnail((size, size))
        return image.convert("RGB")


def blend(content, style, beta, tv):
    """Make the picture of a lane: the larger beta is, the more it shows of the style."""
    painted = Image.blend(content, style.resize(content.size), float(np.log10(1 + beta) / np.log10(1 + beta + 8)))
    return painted.reduce(2).resize(content.size) if tv > 30 else painted


def make_run(
    folder,
    betas=(0.01, 0.1, 1, 10, 100),
    tvs=(30,),
    contents=("cat",),
    styles=("swirls",),
    size=64,
    steps=30,
    failed=(),
    files=None,
    picture=blend,
    command="jaxstyle sweep sample:cat sample:swirls --beta 0.01:100:5",
):
    """Write a finished run of every pair of images with every beta and tv."""
    (folder / "images").mkdir(parents=True)
    images = {name: sample(name, size) for name in (*contents, *styles)}
    inputs = {"content": [], "style": []}
    for kind, names in (("content", contents), ("style", styles)):
        for i, name in enumerate(names):
            file = f"images/{kind}_{i:04d}.png"
            images[name].save(folder / file)
            digest = hashlib.sha256((folder / file).read_bytes()).hexdigest()
            shape = {"height": images[name].height, "width": images[name].width}
            given = {"file": f"{name}.jpg", "source": f"sample:{name}"}
            if files and name in files:
                given = dict.fromkeys(given, files[name])
            inputs[kind].append({**given, "sha256": digest, **shape, "image": file})
    lanes = list(itertools.product(enumerate(contents), enumerate(styles), tvs, betas))
    rows, history = [], []
    for number, ((c, content), (s, style), tv, beta) in enumerate(lanes):
        picture(images[content], images[style], beta, tv).save(folder / f"images/lane_{number:04d}.png")
        rows.append(_row(number, c, s, beta, tv, number in failed))
        history += _losses(number, rows[-1], steps)
    record = {
        "jaxstyle": "0.1.0",
        "command": command,
        "options": {"content": "sample:cat", "style": "sample:swirls", "beta": list(betas), **OPTIONS, "steps": steps},
        "inputs": inputs,
        "columns": COLUMNS,
        "weights": {"name": "vgg16-in-vgg19", "sha256": "77abdb5f" * 8},
        "lanes": len(lanes),
        "versions": {"python": "3.13.0", "jax": "0.12.0", "flax": "0.12.0", "optax": "0.2.8", "numpy": "2.5.0"},
        "device": {"platform": "cpu", "kind": "cpu", "count": 1},
    }
    (folder / "run.json").write_text(json.dumps(record, indent=2))
    write_table(folder / "lanes.csv", rows)
    write_table(folder / "history.csv", history)
    return folder


def _row(number, content, style, beta, tv, failed):
    hardness = 1 + 0.3 * content + 0.7 * style
    x = np.log10(beta)
    content_loss = hardness * 20 * (1 / (1 + np.exp(-1.1 * x))) * (1 + tv / 500) + 0.3
    style_loss = hardness * 60 / (1 + np.exp(1.4 * x)) + 0.4 + 0.002 * tv
    row = {"lane": number, "content": content, "style": style, "alpha": 1, "beta": beta, "tv": tv, "seed": 0}
    row |= {
        "content_loss": content_loss,
        "style_loss": style_loss,
        "tv_loss": 0.02,
        "total": content_loss + beta * style_loss,
    }
    row |= {name: style_loss * 3.0 ** (i - 2) for i, name in enumerate(LAYERS)}
    row |= {
        "lpips": 0.05 + content_loss / 40,
        "ssim": 1 - content_loss / 30,
        "style_distance": style_loss / 10 + 0.1 * x * x,
    }
    if failed:
        row |= dict.fromkeys(COLUMNS["metrics"], "")
    row = {name: f"{value:.7g}" if isinstance(value, float) else value for name, value in row.items()}
    return row | {
        "steps": 30,
        "status": "failed" if failed else "ok",
        "reason": "the loss was not finite" if failed else "",
    }


def _losses(number, row, steps):
    content, style, beta = (float(row[name]) for name in ("content_loss", "style_loss", "beta"))
    for step in range(steps):
        left = np.exp(-8 * step / steps) * (1 + 0.1 * np.sin(step + number))
        c, s = content * (1 - left) + 1e-9, style + 80 * left
        values = dict(zip(COLUMNS["losses"], (c, s, 0.02 + 0.01 * left, c + beta * s), strict=True))
        yield {"lane": number, "step": step, **{name: f"{value:.7g}" for name, value in values.items()}}


def write_table(file, rows):
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    file.write_text(text.getvalue())


def add_strengths(folder):
    """Let the lanes of each pair have betas of their own, and one strength for each beta in their order."""
    rows = read_table(folder / "lanes.csv")
    betas = sorted({float(row["beta"]) for row in rows})
    for row in rows:
        row["strength"] = f"{betas.index(float(row['beta'])) / (len(betas) - 1):g}"
        row["beta"] = f"{float(row['beta']) * (1 + int(row['content']) + 2 * int(row['style'])):g}"
    write_table(folder / "lanes.csv", rows)
    record = json.loads((folder / "run.json").read_text())
    record["columns"]["settings"].insert(2, "strength")
    record["options"] |= {"beta": "auto", "strength": [float(row["strength"]) for row in rows[: len(betas)]]}
    (folder / "run.json").write_text(json.dumps(record))
    return folder
