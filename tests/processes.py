"""Processes that tests start."""

import os
from pathlib import Path

ROOT = Path(__file__).parent.parent


def environment(*, devices=1, **variables):
    """The variables of a process that computes on simulated devices, and compiles as the tests do."""
    flags = os.environ.get("XLA_FLAGS", "")
    if devices > 1:
        flags += f" --xla_force_host_platform_device_count={devices}"
    return {**os.environ, "JAX_PLATFORMS": "cpu", "PYTHONPATH": str(ROOT), "XLA_FLAGS": flags, **variables}
