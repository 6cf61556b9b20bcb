"""How much memory a device has, and which source says so."""

import subprocess
from types import SimpleNamespace

import jax
import pytest

from jaxstyle.app.system import memory
from jaxstyle.app.system.memory import Memory, available_memory, device_memory
from jaxstyle.parallel.microbatch_size import default_microbatch


def gpu(kind="NVIDIA Thing", stats=None, number=0):
    return SimpleNamespace(platform="gpu", device_kind=kind, memory_stats=lambda: stats, local_hardware_id=number)


@pytest.fixture
def driver(monkeypatch):
    """Make a driver that answers for cards 0 and 1; returns the list of questions."""
    asked = []

    def run(words, *, timeout, **_):
        assert 0 < timeout <= 30
        asked.append(words[-1])
        free = {"--id=0": 70_000, "--id=1": 1_000, "--id=GPU-abc": 5}[words[-1]]
        return SimpleNamespace(stdout=f"81559, {free}\n")

    monkeypatch.setattr(subprocess, "run", run)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    return asked


def test_what_the_allocator_says_comes_first(driver):
    found = device_memory(gpu(stats={"bytes_limit": 1000, "bytes_in_use": 300}))
    assert found == Memory(1000, 700, "what is free now")
    assert driver == []


@pytest.mark.parametrize("stats", [None, {}, {"bytes_in_use": 5}, {"bytes_limit": 0}])
def test_a_gpu_whose_allocator_says_nothing_is_asked_of_its_driver(driver, monkeypatch, stats):
    found = device_memory(gpu(stats=stats))
    assert found[:2] == (81559 * 2**20, 70_000 * 2**20)
    assert "nvidia-smi" in found.source
    assert device_memory(gpu(number=1)).free == 1_000 * 2**20
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1,GPU-abc")
    assert device_memory(gpu(number=0)).free == 1_000 * 2**20
    assert device_memory(gpu(number=1)).free == 5 * 2**20
    assert driver == ["--id=0", "--id=1", "--id=1", "--id=GPU-abc"]


def test_a_device_without_the_call_is_asked_of_its_driver(driver):
    def fails():
        raise jax.errors.JaxRuntimeError("UNIMPLEMENTED")

    device = gpu()
    device.memory_stats = fails
    assert device_memory(device).total == 81559 * 2**20


@pytest.mark.parametrize(
    "answer", [FileNotFoundError(), subprocess.TimeoutExpired("nvidia-smi", 10), "[N/A], [N/A]\n", "", "no devices"]
)
def test_where_the_driver_does_not_answer_the_name_says_it(monkeypatch, answer):
    def run(*_, **__):
        if isinstance(answer, Exception):
            raise answer
        return SimpleNamespace(stdout=answer)

    monkeypatch.setattr(subprocess, "run", run)
    for kind, gigabytes in (
        ("NVIDIA A100-SXM4-40GB", 40),
        ("NVIDIA H100 80GB HBM3", 80),
        ("NVIDIA H100 80GB HBM3 MIG 1g.10gb", 10),
    ):
        found = device_memory(gpu(kind))
        assert found[:2] == (gigabytes * 950 * 10**6,) * 2
        assert "name" in found.source
    assert device_memory(gpu("TPU v5 lite")).total == int(15.75 * 2**30)
    for kind in ("NVIDIA GH200 480GB", "NVIDIA Thing"):  # the first name gives the memory of its CPU
        assert device_memory(gpu(kind)) == Memory(0, 0, "nobody knows")


def test_a_part_of_a_gpu_is_not_taken_for_all_of_it(driver):
    assert device_memory(gpu("NVIDIA H100 80GB HBM3 MIG 2g.20gb")).total == 20 * 950 * 10**6
    assert driver == []


def test_an_accelerator_of_unknown_memory_is_no_cpu(monkeypatch):
    """On a CPU, 8 lanes of 128 pixels are as many as are fast; on a GPU, as many as fit into a small one."""
    assert default_microbatch(128**2, None) == 8
    assert default_microbatch(128**2, 0) == default_microbatch(128**2, 8 * 10**9) == 80
    monkeypatch.setattr(memory.jax, "local_devices", lambda: [gpu(stats={"bytes_limit": 50, "bytes_in_use": 60})])
    assert available_memory() == 0


def test_a_cpu_has_what_the_machine_has_free(monkeypatch, tmp_path):
    (cpu,) = jax.local_devices()[:1]
    assert 2**20 < device_memory(cpu).free < 2**50
    for name, value in (("max", 3 * 2**20), ("current", 2**20)):
        (tmp_path / f"memory.{name}").write_text(f"{value}\n")
    monkeypatch.setattr(memory, "_CGROUP", tmp_path)
    assert device_memory(cpu).free == 2 * 2**20
