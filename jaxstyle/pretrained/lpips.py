"""Load the weights of the LPIPS metrics, by a name of their own.

The file of each set holds `heads/LAYER` (c,), which are non-negative. The file of AlexNet also holds its convolutions:
`mean`, `convI/kernel` and `convI/bias`. The heads for VGG16 go with the convolutions of the bundled set.
"""

from typing import Any

from jaxstyle.network.features import Params
from jaxstyle.pretrained.load import as_float32, load_params
from jaxstyle.pretrained.weight_files import WeightsError, parse_tensors, read_set
from jaxstyle.pretrained.weight_sets import LPIPS_SETS


def load_lpips(network: str = "alex") -> Params:
    """Load the bundled weights of LPIPS 0.1 (Zhang et al., arXiv 1801.03924), float32, for `js.metrics`.

    Args:
      network: "alex", which every metric takes, or "vgg16", which only `metrics.lpips` takes.

    Returns:
      {"mean": (3,), "conv1": {"kernel", "bias"}, ..., "heads": {"relu1": (64,), ...}} for "alex". For "vgg16" it is
      what `load_params("bundled")` returns, with {"heads": {"relu1_2": (64,), ...}} beside it.

    Raises:
      WeightsError: if the name is unknown, or the file is missing, truncated or altered.

    Examples:
      >>> import jaxstyle as js
      >>> params = js.load_lpips("alex")
      >>> params["conv1"]["kernel"].shape, params["heads"]["relu1"].shape
      ((11, 11, 3, 64), (64,))
    """
    if network not in LPIPS_SETS:
        raise WeightsError(f"unknown network of LPIPS {network!r}: give one of {', '.join(LPIPS_SETS)}")
    tensors = parse_tensors(*read_set(LPIPS_SETS[network]))
    params: dict[str, Any] = {} if "mean" in tensors else dict(load_params())
    for key, tensor in tensors.items():
        group, _, leaf = key.rpartition("/")
        (params.setdefault(group, {}) if group else params)[leaf] = as_float32(tensor)
    return params
