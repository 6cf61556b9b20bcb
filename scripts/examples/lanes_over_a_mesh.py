"""Lanes shared out among devices: eight simulated ones on a CPU, or those that are here.

python scripts/examples/lanes_over_a_mesh.py writes mesh.png: eight lanes, one from each device.

Lanes need nothing from each other, so that the compiled program exchanges nothing; 12 lanes on 8 devices would be
padded to 16. On the chips of one TPU host or several GPUs the same lines do the same.
"""

import sys

import jax
import jax.numpy as jnp
import numpy as np
import optax
from PIL import Image

import jaxstyle as js

jax.config.update("jax_num_cpu_devices", 8)  # before the first computation; it concerns CPUs only
SIZE, STEPS = (52, 3) if "--quick" in sys.argv else (96, 60)

content, style = js.read_image("sample:coffee", SIZE), js.read_image("sample:swirls", SIZE)
params = js.load_params("bundled")
features = js.make_features()
objective = js.make_objective(features)
targets = objective.targets(params, content, style)
transfer = js.make_transfer(objective.loss, optax.adam(0.03, b2=0.99))
mesh = jax.make_mesh((jax.device_count(),), ("lanes",))
grid = js.weight_grid(beta=jnp.logspace(-2, 1.5, 8), tv=30.0)

sweep = jax.jit(lambda *args: js.sweep(transfer, *args, num_steps=STEPS, mesh=mesh, microbatch=1))
program = sweep.lower(content, params, targets, grid).compile().as_text() or ""
exchanges = [name for name in ("all-gather", "all-reduce", "all-to-all") if f" {name}(" in program]
print(f"{jax.device_count()} devices; exchanges between them: {', '.join(exchanges) or 'none'}")

result = sweep(content, params, targets, grid)
for shard in result.images.addressable_shards:
    print(f"{shard.device}: lanes {shard.index[0].indices(len(result.images))[:2]}")
images = np.asarray(result.images)
rows = [np.concatenate(list(images[i : i + 4]), axis=1) for i in (0, 4)]
Image.fromarray(np.uint8(np.round(255 * np.concatenate(rows)))).save("mesh.png")
