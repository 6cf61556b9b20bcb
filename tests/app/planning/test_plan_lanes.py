import importlib.util
import json
import os
import re
import subprocess
import sys
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import optax
import pytest

import jaxstyle as js
from jaxstyle.app.cli import main
from jaxstyle.app.commands import plan as plan_command
from jaxstyle.app.planning import machine, plan_lanes
from jaxstyle.app.planning.machine import Machine, Speed
from jaxstyle.app.planning.most_lanes import search_most
from jaxstyle.network.layers import CONTENT_LAYERS, CONVOLUTIONS, DTYPES, STYLE_LAYERS
from jaxstyle.parallel.lanes import make_lanes
from jaxstyle.parallel.microbatch_size import default_microbatch

FULL = plan_lanes.Request(
    64, None, None, "float32", "adam", "mean", "gram", CONTENT_LAYERS, STYLE_LAYERS, "max", "zero", "random:0"
)
SHALLOW = ["--content-layers", "relu1_2", "--style-layers", "relu1_1", "--weights", "random:0"]
GRAM = [*SHALLOW, "--style-loss", "gram"]
MACHINE = Machine([object()], "thing", 1000, "the test", False, lambda _: Speed(1.0, 1.0, 1, 1, "the test"))


def run_main(*arguments):
    with pytest.raises(SystemExit) as done:
        main(["plan", *arguments])
    return done.value.code


def run_command(*arguments, **environment):
    """Run in a process of its own, since what the command sets in the environment counts when jax is imported."""
    command = [sys.executable, "-m", "jaxstyle.app.cli", "plan", *arguments]
    root = Path(__file__).parents[3]
    return subprocess.run(command, cwd=root, env={**os.environ, **environment}, capture_output=True, text=True)


def lanes_found(peak, *, first, microbatch, state, memory=1000, known=True):
    """Search with a compiler whose program needs peak(lanes); return the lanes found and the lanes it was asked for."""
    asked = []

    def compile_lanes(each):
        asked.append(each)
        fits = peak(each) <= memory
        return plan_lanes.Compiled(each, 0.0, fits, int(peak(each)) if fits or known else None)

    found = search_most(compile_lanes, first, microbatch, state, MACHINE._replace(memory=memory))
    assert len(asked) <= 3
    assert found == max((n for n in asked if peak(n) <= memory), default=0)
    return found, asked


def test_search_meets_the_limit():
    # A group takes 200 and a lane 1. With a slack of 1 %, 790 more lanes fit, in whole groups of 8.
    assert lanes_found(lambda n: 200 + n, first=8, microbatch=8, state=1) == (784, [8, 784])


def test_search_corrects_a_state_that_needs_more_or_less_than_it_should():
    assert lanes_found(lambda n: 200 + 1.5 * n, first=8, microbatch=8, state=1) == (520, [8, 784, 520])
    assert lanes_found(lambda n: 200 + 0.5 * n, first=8, microbatch=8, state=1) == (1184, [8, 792, 1184])


def test_search_without_knowing_how_much_too_much():
    found, asked = lanes_found(lambda n: 200 + 1.5 * n, first=8, microbatch=8, state=1, known=False)
    assert (found, asked) == (392, [8, 784, 392])


def test_search_where_several_groups_need_more_than_one():
    assert lanes_found(lambda n: 200 + n + 20 * (n > 8), first=8, microbatch=8, state=1)[0] == 768


def test_search_from_more_lanes_than_fit():
    assert lanes_found(lambda n: 200 + n, first=2000, microbatch=8, state=1)[0] == 784


def test_search_of_a_group_that_is_too_large():
    found, asked = lanes_found(lambda n: 300 * n, first=8, microbatch=8, state=1)
    assert (found, asked[0]) == (3, 8)
    assert lanes_found(lambda n: 5000 + n, first=8, microbatch=8, state=1)[0] == 0


@pytest.mark.parametrize(
    ("size", "memory", "lanes"),
    [
        (512, 16.9e9, 8),
        (256, 16.9e9, 40),
        (1024, 16.9e9, 2),
        (4096, 16.9e9, 1),
        (512, 140e9, 32),
        (128, None, 8),
        (128, 0, 80),
    ],
)
def test_groups_of_an_accelerator_are_whole_eights(size, memory, lanes):
    assert default_microbatch(size**2, memory and int(memory)) == lanes


def test_flops_are_those_that_xla_counts():
    features = js.make_features(backend="xla")
    params = js.load_params("random:0")
    image = jax.ShapeDtypeStruct((64, 64, 3), jnp.float32)
    targets = jax.eval_shape(js.make_objective(features).targets, params, image, image)
    gradient = jax.jit(jax.value_and_grad(lambda x, *rest: js.make_objective(features).loss(x, *rest)[0]))
    compiled = gradient.lower(image, params, targets, js.LossWeights()).compile()
    mine = sum(plan_lanes.count_flops(FULL, CONVOLUTIONS))
    counted = compiled.cost_analysis()["flops"]
    # XLA leaves out products with the padding, which are 2/3 of the border's, and most where images are 4 pixels wide.
    assert 0.85 < counted / mine < 1.02
    vgg16 = [name for name in CONVOLUTIONS if name != "conv3_4"]
    assert mine - sum(plan_lanes.count_flops(FULL, vgg16)) == 2 * 2 * 9 * 256 * 256 * 16**2


@pytest.mark.parametrize(
    ("dtype", "on_cpu", "operand", "products"),
    [
        ("float32", False, "float32", (1, 1)),
        ("tensorfloat32", False, "float32", (1, 1)),
        ("bfloat16", False, "bfloat16", (1, 1)),
        ("bfloat16_3x", False, "bfloat16", (3, 1)),
        ("float32", True, "float32", (1, 1)),
        ("bfloat16", True, "float32", (1, 1)),  # a CPU computes in float32 all the same
    ],
)
def test_speed_is_that_of_the_products_that_the_dtype_takes(monkeypatch, dtype, on_cpu, operand, products):
    timed = []

    def best_time(function, argument):
        program = str(jax.make_jaxpr(function)(argument))
        result = jax.eval_shape(function, argument).dtype.name
        timed.append((argument.dtype.name, argument.shape, result, "HIGHEST" in program))
        return 0.5

    monkeypatch.setattr(machine, "_best_time", best_time)
    monkeypatch.setattr(machine, "_TIMED", {"cpu": (8, 16), "accelerator": (8, 16)})
    speed = machine._measure_speed(dtype, on_cpu=on_cpu)
    exact = dtype != "tensorfloat32"
    assert timed == [(operand, (8, 8), "float32", exact), ("float32", (16,), "float32", False)]
    assert speed[:4] == (2 * 8**3 / 0.5, 2 * 16 * 4 / 0.5, *products)
    assert (operand if exact else dtype) in speed.source


def test_the_estimate_for_a_tpu_knows_the_dtype(monkeypatch):
    """A v5e's documented 197 TFLOP/s count bfloat16 products, and float32 at full precision takes six of them."""
    devices = [SimpleNamespace(device_kind="TPU v5 lite")]
    monkeypatch.setattr(machine.importlib.util, "find_spec", lambda _: True)
    description = SimpleNamespace(devices=devices)
    monkeypatch.setattr(machine.topologies, "get_topology_desc", lambda **_: description)
    found = machine.topology("v5e:1x1")
    assert found.memory == int(15.75 * 2**30)
    for dtype, seconds in (("float32", 6 * 1e12 + 6 * 2e12), ("bfloat16", 3e12), ("bfloat16_3x", 3 * 1e12 + 2e12)):
        roofline = plan_lanes._roofline(found.speed(dtype), 1e12, 2e12, 1e9)
        assert roofline["seconds_per_lane_step"] == pytest.approx(seconds / 197e12)
        assert roofline["limit"] == "arithmetic"
        assert roofline["seconds_of_arithmetic"] > roofline["seconds_of_memory"] == pytest.approx(1e9 / 819e9)
    assert plan_lanes._roofline(found.speed("bfloat16"), 1e9, 1e9, 819e9)["seconds_per_lane_step"] == pytest.approx(1)


@pytest.mark.slow
def test_plan_of_this_machine(capsys):
    assert run_main("--size", "32", "--lanes", "3", "--microbatch", "2", "--optimizer", "adam", "--json", *GRAM) == 0
    out, err = capsys.readouterr()
    found = json.loads(out)
    assert 1 < len(found["compilations"]) <= 3
    assert len(err.splitlines()) == len(found["compilations"])
    assert (found["topology"], found["devices"], found["device_kind"]) == (None, 1, "cpu")
    assert (found["lanes"], found["microbatch"], found["fits"], found["collectives"]) == (3, 2, True, 0)
    # These are the image, Adam's two moments and, in 8 bits, the last good image; Adam's two counts, the learning rate;
    # and the lowest total, the limit, the steps and the status, which say whether the lane goes on.
    assert found["state_bytes_per_lane"] == (3 * 4 + 1) * 32 * 32 * 3 + 7 * 4
    assert found["aliased_bytes_per_device"] >= 3 * found["state_bytes_per_lane"]
    features = 32 * 32 * 64 * 4  # one layer
    assert features < found["bytes_per_lane"] < 100 * features
    assert found["peak_bytes_per_device"] > 2 * found["bytes_per_lane"]
    assert found["max_lanes"] in [c["lanes"] for c in found["compilations"] if c["fits"]]
    assert 0.5 < found["max_lanes_peak_bytes_per_device"] / found["memory_per_device"] <= 1
    assert "estimate" in found["roofline"]["note"]
    assert found["roofline"]["seconds_per_lane_step"] > 0


@pytest.mark.slow
def test_plan_of_one_picture_in_rows(capsys, monkeypatch):
    memory = 40 * 10**6
    monkeypatch.setattr(machine, "present", lambda: MACHINE._replace(devices=jax.devices(), memory=memory))
    assert run_main("--rows", "--size", "32", "--json", *GRAM) == 0
    out, err = capsys.readouterr()
    found = json.loads(out)
    assert 1 < len(found["compilations"]) == len(err.splitlines()) <= 3
    assert [found["compilations"][0][name] for name in ("size", "fits")] == [32, True]
    assert found["peak_bytes_per_device"] == found["compilations"][0]["peak_bytes_per_device"]
    assert found["max_size"] in [c["size"] for c in found["compilations"] if c["fits"]]
    assert found["max_size"] % 16 == 0
    assert 0.6 * memory < found["max_size_peak_bytes_per_device"] <= memory
    table = "\n".join(plan_command._align(plan_command._describe_picture(found)))
    assert f"largest square picture that fits  {found['max_size']}x{found['max_size']}, with " in table
    table = "\n".join(plan_command._align(plan_command._describe_picture({**found, "collectives": None})))
    assert "operations between devices        unknown: the compiler gave up" in table


def test_plan_as_a_table(capsys, monkeypatch):
    compiled = plan_lanes.Compiled(8, 12.0, True, 4 * 10**9, 800 * 10**6, 75 * 10**6, 1e9, 0)
    monkeypatch.setattr(machine, "present", lambda: MACHINE._replace(devices=jax.devices(), memory=10**10))
    monkeypatch.setattr(plan_lanes, "_compile", lambda problem, machine, each, microbatch: compiled)
    assert run_main("--size", "64", "--lanes", "8", "--microbatch", "8", "--weights", "random:0") == 0
    out, _ = capsys.readouterr()
    for row in ("peak memory of a device            4 GB", "of it for each lane of a group     100 MB"):
        assert row in out.splitlines()
    assert "estimate" in out
    assert "read and written in a lane's step  125 MB" in out.splitlines()
    assert "limited by memory bandwidth (arithmetic " in out or "limited by arithmetic (arithmetic " in out


def test_plan_of_a_gpu_that_is_not_here(capsys, monkeypatch):
    """Its groups are an accelerator's, its step has no Winograd kernels, and nobody knows its speed."""
    asked = []

    def compile_(problem, machine, each, microbatch):
        asked.append((jax.tree.leaves(problem.params), machine.memory, each, microbatch))
        return plan_lanes.Compiled(each, 12.0, each <= 8, 4 * 10**9, 800 * 10**6, 75 * 10**6, 1e9, 0)

    monkeypatch.setattr(plan_lanes, "_compile", compile_)
    assert run_main("--memory", "24GB", "--size", "512", "--weights", "random:0") == 0
    out, _ = capsys.readouterr()
    leaves, *rest = asked[0]
    assert rest == [18 * 10**9, 8, 8]
    assert not [leaf for leaf in leaves if leaf.ndim == 3]  # what `prepare` adds
    assert "estimate of a lane's step          unknown: nobody knows this device's speed" in out.splitlines()
    assert "bfloat16" in out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--size", "20"], "--size 20 is too small for the layers asked for: the smallest is 32"),
        (["--optimizer", "sgd"], "unknown optimizer 'sgd'; valid: adam, lbfgs"),
        (["--convention", "none"], "unknown convention 'none'; valid: mean, gatys, johnson, relative"),
        (["--convention", "gatys", "--style-loss", "nearest"], "convention 'gatys' is for Gram matrices"),
        (["--style-layers", "relu9_1"], "unknown layer 'relu9_1'; valid layers: conv1_1"),
        (["--weights", "nothing"], "unknown weights 'nothing'"),
        (["--memory", "24GB", "--rows"], "--memory is for lanes on one GPU: leave --rows and --topology out"),
        (["--rows", "--lanes", "3"], "--rows is for one picture: leave --lanes and --microbatch out"),
    ],
)
def test_what_a_plan_can_not_start_with(capsys, arguments, message):
    assert run_main(*arguments) == 2
    err = capsys.readouterr().err
    assert message in err
    assert len(err.splitlines()) == 1


def test_topology_without_libtpu(capsys, monkeypatch):
    for name in ("JAX_PLATFORMS", "TPU_SKIP_MDS_QUERY", "TPU_WORKER_HOSTNAMES"):
        monkeypatch.setenv(name, os.environ.get(name, ""))  # so that what the command sets is put back
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert run_main("--topology", "v5e:2x2") == 2
    err = capsys.readouterr().err
    assert err == 'jaxstyle: --topology needs the TPU compiler libtpu: pip install "jaxstyle[plan]"\n'


def test_help_of_the_plan_imports_no_jax():
    code = "import sys\nfrom jaxstyle.app.cli import main\ntry:\n main(['plan', '--help'])\nexcept SystemExit:\n pass\n"
    code += "assert 'jax' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[3], check=True, capture_output=True)


@pytest.mark.parametrize(
    ("dtype", "optimizer"), [*((dtype, optax.adam(0.02)) for dtype in DTYPES), ("bfloat16", js.lbfgs())]
)
def test_sweep_lowers_for_cuda(dtype, optimizer):
    """A GPU's program can't be compiled without a GPU."""
    features = js.make_features(dtype=dtype)
    grid = js.weight_grid(beta=[0.1, 1.0, 10.0])
    params = jax.eval_shape(partial(js.load_params, "random:0"))
    image = jax.ShapeDtypeStruct((64, 64, 3), jnp.float32)
    targets = jax.eval_shape(js.make_objective(features).targets, params, image, image)
    lanes = make_lanes(js.make_transfer(js.make_objective(features).loss, optimizer), grid, microbatch=2)
    state = jax.eval_shape(lanes.init, jax.ShapeDtypeStruct((3, 64, 64, 3), jnp.float32))
    run = jax.jit(partial(js.run, lanes, num_steps=2))
    text = run.trace(state, params, targets, grid).lower(lowering_platforms=("cuda",)).as_text()
    assert "stablehlo.convolution" in text
    assert "@LayoutConstraint" in text
    # relu1_1's Gram matrices of both lanes of a group, of two parts each
    kind = "bf16" if dtype.startswith("bfloat16") else "f32"
    assert re.search(rf"dot_general.*<2x2x2048x64x{kind}>", text)


tpu_compile = [
    pytest.mark.tpu_compile,
    pytest.mark.skipif(importlib.util.find_spec("libtpu") is None, reason="needs the extra `plan`"),
]


class TestTpu:
    pytestmark = tpu_compile

    def test_unknown_topology(self):
        for name in ("nonsense", "v5e:3x3", "v5e", ""):
            done = run_command("--topology", name)
            assert (done.returncode, done.stdout) == (2, "")
            assert done.stderr.startswith(f"jaxstyle: unknown topology '{name}'; valid are a TPU's generation and grid")
            assert len(done.stderr.splitlines()) == 1

    @pytest.mark.slow
    def test_lanes_shared_out_among_chips(self):
        done = run_command("--topology", "v5e:2x2", "--size", "128", "--microbatch", "2", "--json", *SHALLOW)
        assert done.returncode == 0, done.stderr
        found = json.loads(done.stdout)
        assert len(done.stderr.splitlines()) == len(found["compilations"]) <= 3  # libtpu prints nothing
        assert (found["device_kind"], found["devices"], found["lanes"]) == ("TPU v5 lite", 4, 8)
        assert found["collectives"] == 0
        assert found["aliased_bytes_per_device"] >= 2 * found["state_bytes_per_lane"]
        # The state is there once, and at most two groups more; together they take nearly all of the memory.
        assert found["max_lanes"] * found["state_bytes_per_lane"] > 4 * 0.9 * found["memory_per_device"]
        assert found["max_lanes"] % 8 == 0

    @pytest.mark.slow
    @pytest.mark.parametrize("arguments", [[], ["512"]], ids=["sixteen chips, memory of each kind", "1024 lanes"])
    def test_topologies(self, arguments):
        """Run topologies.py, which says what is checked."""
        command = [sys.executable, "-m", "tests.topologies", *arguments]
        done = subprocess.run(command, cwd=Path(__file__).parents[3], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
