"""Test the devices that the command finds, or that it is told to use although they aren't there."""

import re

import jax
import pytest

from jaxstyle.app.system.devices import find_devices
from jaxstyle.app.system.errors import StartError
from tests.command import QUICK, fails

UNKNOWN = "Unable to initialize backend 'cuda': Backend 'cuda' is not in the list of known backends: ['cpu']."


@pytest.fixture(
    params=[
        ("JAX_PLATFORMS", AssertionError(), ""),  # of jax 0.12
        ("JAX_PLATFORMS", RuntimeError(UNKNOWN), f" ({UNKNOWN})"),
        ("JAX_PLATFORM_NAME", RuntimeError("Unknown backend cuda.\nPerhaps"), " (Unknown backend cuda.)"),
    ]
)
def line(request, monkeypatch):
    """Test the line for the error that jax raises if it lacks what a variable names."""
    variable, error, reason = request.param

    def devices():
        raise error

    monkeypatch.setattr(jax, "devices", devices)
    for name in ("JAX_PLATFORMS", "JAX_PLATFORM_NAME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv(variable, "cuda")
    return f"jaxstyle: {variable}=cuda: jax finds no such device here{reason}; unset it, or set it to cpu"


def test_devices_that_a_variable_names_and_that_are_not_there(images, capsys, line):
    for command in (
        ["sweep", "c.png", "s.png", *QUICK, "--out", "run"],
        ["transfer", "c.png", "s.png", *QUICK, "-o", "out.png"],
        ["texture", "s.png", "-o", "out.png"],
        ["plan", "--size", "32"],
        ["weights", "verify"],
        ["weights", "port", "c.png"],
        ["weights", "normalise", "random:0", "."],
    ):
        fails(capsys, 2, f"^{re.escape(line)}$", *command)
    assert sorted(p.name for p in images.iterdir()) == ["c.png", "s.png"]


def test_no_device_at_all(monkeypatch):
    def devices():
        raise RuntimeError("no chip answers")

    monkeypatch.setattr(jax, "devices", devices)
    for name in ("JAX_PLATFORMS", "JAX_PLATFORM_NAME"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(StartError, match=r"^jax finds no device \(no chip answers\)$"):
        find_devices()
