"""The transfer of `benchmark.py` in PyTorch, written to be fast: what jaxstyle is measured against.

All lanes are one batch in channels_last; the weights are frozen, so that the backward pass makes the image's gradient
and no other; ReLU works in place; nothing waits for the device before the end of `run`. The objective is jaxstyle's
under the convention `mean`, with its default layers and max pooling. Imports torch, and not jax.
"""

import os
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch  # pyright: ignore[reportMissingImports]
import torch.nn.functional as F  # pyright: ignore[reportMissingImports]

from jaxstyle.network.layers import BLOCKS, CONTENT_LAYERS, LAYERS, STYLE_LAYERS, block_of

DEEPEST = max(LAYERS.index(layer) for layer in CONTENT_LAYERS + STYLE_LAYERS)
"""Index of the last layer that a loss reads: conv5_1, after ReLU."""

Params = Mapping[str, Any]
"""Of the form that `js.load_params` returns; arrays are anything that NumPy takes."""


class TorchTransfer:
    """A transfer of many lanes, from one image, to the same targets, with a beta a lane; alpha is 1."""

    def __init__(
        self,
        params: Params,
        content: np.ndarray,
        style: np.ndarray,
        start: np.ndarray,
        betas: np.ndarray,
        *,
        learning_rate: float,
        dtype: str = "float32",
        device: str = "cpu",
        compiled: bool = False,
    ) -> None:
        """Set the targets up.

        Args:
          params: the network's parameters.
          content: (h, w, 3) content image, RGB in [0, 1].
          style: (h', w', 3) style image.
          start: (h, w, 3) where all lanes start.
          betas: (lanes,) style weights.
          learning_rate: Adam's.
          dtype: of the convolutions, one of `layers.DTYPES`; Gram matrices, losses and Adam stay float32. On a GPU,
            products are rounded to TF32 unless it is "float32".
          device: where to compute.
          compiled: whether torch.compile makes the objective and its gradient.
        """
        self._device, self._dtype = device, torch.bfloat16 if dtype.startswith("bfloat16") else torch.float32
        torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = dtype != "float32"
        self._losses = torch.compile(self._objective) if compiled else self._objective
        self._mean = torch.tensor(np.asarray(params["mean"]), device=device).reshape(3, 1, 1)
        # VGG16 lacks some, whose ReLU does nothing then.
        self._convolutions = {name: self._convolution(params[name]) for name in LAYERS[: DEEPEST + 1] if name in params}
        with torch.no_grad():
            of_content, of_style = self._features(self._batch(content)), self._features(self._batch(style))
            self._content = {layer: of_content[layer] for layer in CONTENT_LAYERS}
            self._grams = {layer: _gram_matrices(of_style[layer]) for layer in STYLE_LAYERS}
        self._betas = torch.tensor(betas, dtype=torch.float32, device=device)
        images = self._batch(start).repeat(len(betas), 1, 1, 1).contiguous(memory_format=torch.channels_last)
        self._images = images.requires_grad_()
        self._optimizer = torch.optim.Adam([self._images], lr=learning_rate)

    def run(self, steps: int) -> np.ndarray:
        """Take steps, from where the last call ended.

        Returns:
          (steps, lanes): row i holds the objective of the images before step i.
        """
        rows = [self._step() for _ in range(steps)]
        return torch.stack(rows).cpu().numpy()  # on a GPU, waits for the last step

    def _step(self) -> Any:
        self._optimizer.zero_grad(set_to_none=True)
        losses = self._losses()
        losses.sum().backward()
        self._optimizer.step()
        with torch.no_grad():
            self._images.clamp_(0, 1)
        return losses.detach()

    def _objective(self) -> Any:
        found = self._features(self._images)
        content = sum((found[layer] - target).square().mean((1, 2, 3)) for layer, target in self._content.items())
        style = sum((_gram_matrices(found[layer]) - gram).square().mean((1, 2)) for layer, gram in self._grams.items())
        return content / len(self._content) + self._betas * style / len(self._grams)

    def _features(self, x: Any) -> dict[str, Any]:
        x = (x - self._mean).to(self._dtype)
        found = {}
        for name in LAYERS[: DEEPEST + 1]:
            if name in self._convolutions:
                x = F.conv2d(x, *self._convolutions[name], padding=1)
            elif name.replace("relu", "conv") in self._convolutions:
                x = F.relu_(x)
            elif name.startswith("pool"):
                x = F.max_pool2d(x, 2)
            if name in CONTENT_LAYERS + STYLE_LAYERS:
                found[name] = x.float()  # the same tensor in float32
        return found

    def _batch(self, image: np.ndarray) -> Any:
        return torch.tensor(image, device=self._device).permute(2, 0, 1)[None]  # channels_last in memory

    def _convolution(self, layer: Params) -> tuple[Any, Any]:
        arrays = (np.asarray(layer[key]) for key in ("kernel", "bias"))
        kernel, bias = (torch.tensor(array, device=self._device, dtype=self._dtype) for array in arrays)
        return kernel.permute(3, 2, 0, 1).contiguous(memory_format=torch.channels_last), bias


def _gram_matrices(x: Any) -> Any:
    """Gram matrices F'F / N of features (n, c, h, w), which channels_last makes views: (n, c, c)."""
    f = x.permute(0, 2, 3, 1).flatten(1, 2)
    return torch.bmm(f.transpose(1, 2), f) / f.shape[1]


def random_params() -> Params:
    """He-normal parameters without jax, for a process whose memory is measured."""
    rng = np.random.default_rng(0)
    params: dict[str, Any] = {"mean": np.full(3, 0.45, np.float32)}
    width = 3
    for name in LAYERS[: DEEPEST + 1]:
        if name.startswith("conv"):
            channels = BLOCKS[block_of(name) - 1][1]
            kernel = rng.standard_normal((3, 3, width, channels), dtype=np.float32)
            params[name] = {"kernel": kernel * (2 / (9 * width)) ** 0.5, "bias": np.zeros(channels, np.float32)}
            width = channels
    return params


def use_all_cores() -> int:
    """Give PyTorch as many threads as XLA has, one a core that this process may use; returns their number."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    torch.set_num_threads(cores)
    return cores
