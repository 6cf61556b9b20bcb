"""Verify every format that `jaxstyle weights port` reads, and write what came out into the table of weights/README.md.

    python scripts/verify_formats.py

A VGG19 with random weights is written as each program writes it and ported; the features of all 16 layers are compared
with the program's network in float64, with maximum and with average pooling. Ends with status 1 if one differs by
more than 1e-5 (relative L2 error).
"""

import os
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import jax  # noqa: E402
import jax.numpy as jnp  # noqa: E402
import numpy as np  # noqa: E402

from jaxstyle.app.pictures.read_image import read_image  # noqa: E402
from jaxstyle.app.weights.store import port_file  # noqa: E402
from jaxstyle.network.layers import CONVOLUTIONS, POOLINGS  # noqa: E402
from jaxstyle.network.vgg_features import make_features  # noqa: E402
from jaxstyle.pretrained.load import load_params  # noqa: E402
from jaxstyle.pretrained.weight_sets import REMOTE_SETS  # noqa: E402
from tests.reference import foreign_files as foreign  # noqa: E402

README = ROOT / "weights" / "README.md"
BEGIN, END = "<!-- formats: begin, by scripts/verify_formats.py -->", "<!-- formats: end -->"
TOLERANCE = 1e-5
PUBLIC = {  # the files of the public sets, by the format that they have
    "notop.h5": "Keras 1 .h5, notop",
    "vgg19-d01eb7cb.pth": "neural-style-pt .pth (Caffe) of before torch 1.6",
    "vgg16-00b39a1b.pth": "neural-style-pt .pth (Caffe) of before torch 1.6",
    "model.safetensors": "timm safetensors",
    "vgg19-dcbb9e9d.pth": "torchvision .pth of before torch 1.6",
}


def measure(case: str, folder: Path, image: np.ndarray) -> list[float]:
    """Largest relative error of a layer, for each pooling."""
    program, taps, write = foreign.CASES[case]
    layers = foreign.make_network(first_taps=foreign.TAPS.get(taps))
    write(folder / "file", layers)
    params = load_params(port_file(folder / "file", f"verified-{os.urandom(4).hex()}"))
    errors = []
    for pooling in POOLINGS:
        names = [name.replace("conv", "relu") for name in CONVOLUTIONS]
        found = jax.jit(make_features(names, pooling=pooling, backend="xla"))(params, jnp.asarray(image))
        wanted = foreign.features(image, program, layers, pooling=pooling)
        differences = [np.linalg.norm(found[name] - wanted[name]) / np.linalg.norm(wanted[name]) for name in names]
        errors.append(float(max(differences)))
    return errors


def main() -> None:
    """Verify all formats and write the table."""
    image = read_image("sample:coffee", 56)[:34, :37]
    sets = {case: [] for case in foreign.CASES}
    for name, remote in REMOTE_SETS.items():
        for download in remote.downloads:
            sets[next(case for end, case in PUBLIC.items() if download.file.endswith(end))].append(name)
    rows = ["| file | input it expects | public sets | max pooling | average pooling |", "|---|---|---|---|---|"]
    worst = 0.0
    for case, (program, _, _) in foreign.CASES.items():
        with tempfile.TemporaryDirectory() as folder:
            os.environ["JAXSTYLE_CACHE"] = folder
            errors = measure(case, Path(folder), image)
        worst = max(worst, *errors)
        public = ", ".join(dict.fromkeys(sets[case])) or "-"
        rows.append(f"| {case} | {program} | {public} | {' | '.join(f'{error:.0e}' for error in errors)} |")
        print(rows[-1], flush=True)
    text = README.read_text()
    before, after = text.partition(BEGIN)[0], text.partition(END)[2]
    README.write_text(f"{before}{BEGIN}\n" + "\n".join(rows) + f"\n{END}{after}")
    if not worst <= TOLERANCE:
        sys.exit(f"a layer differs by {worst:.1e}, more than {TOLERANCE:.0e}")


if __name__ == "__main__":
    main()
