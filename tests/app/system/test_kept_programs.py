import subprocess
import sys
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jaxstyle as js
from jaxstyle.app.system import kept_programs
from jaxstyle.app.system.fingerprints import UnknownError, describe_arguments, fingerprint, surroundings
from jaxstyle.app.system.kept_programs import compile_kept, jit_kept
from jaxstyle.objective.losses import gram_matrix
from jaxstyle.optimise.pyramid import resize
from tests.processes import environment


@pytest.fixture
def folder(monkeypatch, tmp_path):
    monkeypatch.setattr(kept_programs, "kept_folder", lambda: tmp_path / "kept")
    before = jax.config.jax_enable_compilation_cache
    jax.config.update("jax_enable_compilation_cache", True)  # a plan made before in this process leaves it off
    yield tmp_path / "kept"
    jax.config.update("jax_enable_compilation_cache", before)


@pytest.fixture
def no_tracing(monkeypatch):
    """A context in which nothing can be traced."""

    def fail(*_, **__):
        raise AssertionError("traced")

    def enter():
        monkeypatch.setattr(kept_programs.jax, "jit", fail)

    kept_programs._load_lapack()
    return enter


def shrink(size):
    return partial(resize, shape=(size, size))


def test_a_program_is_found_again_without_tracing(folder, no_tracing, rng):
    image = rng.random((8, 8, 3), np.float32)
    first = compile_kept(shrink(4), image)
    assert len(list(folder.iterdir())) == 1
    quick = jit_kept(shrink(4))(image)
    assert len(list(folder.iterdir())) == 2
    no_tracing()
    again = compile_kept(shrink(4), image)
    np.testing.assert_array_equal(again(image), first(image))
    np.testing.assert_array_equal(jit_kept(shrink(4))(image), quick)
    np.testing.assert_allclose(quick, first(image), rtol=1e-6)
    for other in (shrink(5), resize):
        with pytest.raises(AssertionError, match="traced"):
            compile_kept(other, image)
    for argument in (image[:7], image.astype(np.float16), [image]):
        with pytest.raises(AssertionError, match="traced"):
            compile_kept(shrink(4), argument)


def test_arguments_that_are_donated_stay_so(folder, no_tracing):
    def donating(x):
        return compile_kept(shrink(4), x, donate_argnums=(0,))

    donating(jnp.ones((4, 4, 3)))
    no_tracing()
    x = jnp.ones((4, 4, 3))
    y = donating(x)(x)
    assert x.is_deleted()
    assert y.shape == (4, 4, 3)


def test_a_damaged_file_is_written_again(folder):
    image = np.ones((8, 8, 3), np.float32)
    compile_kept(shrink(4), image)
    (file,) = folder.iterdir()
    whole = file.read_bytes()
    for damaged in (b"", whole[:-1], whole[:50] + bytes([whole[50] ^ 1]) + whole[51:]):
        file.write_bytes(damaged)
        assert compile_kept(shrink(4), image)(image).shape == (4, 4, 3)
        assert len(file.read_bytes()) > 1000


def test_a_folder_that_cannot_be_written_is_no_error(folder):
    folder.write_text("no folder")
    image = np.ones((8, 8, 3), np.float32)
    assert compile_kept(shrink(4), image)(image).shape == (4, 4, 3)


def test_functions_of_others_are_compiled_each_time(folder):
    assert compile_kept(lambda x: x + 1, 1)(1) == 2
    assert not folder.exists()


def test_nothing_is_kept_without_jaxs_cache(folder):
    jax.config.update("jax_enable_compilation_cache", False)
    try:
        compile_kept(shrink(4), np.ones((8, 8, 3), np.float32))
    finally:
        jax.config.update("jax_enable_compilation_cache", True)
    assert not folder.exists()


def test_jaxs_own_cache_is_used_again_afterwards(folder):
    before = jax.config.jax_enable_compilation_cache
    compile_kept(shrink(4), np.ones((8, 8, 3), np.float32))
    assert jax.config.jax_enable_compilation_cache == before


def test_lapack_works_in_a_process_that_has_not_traced_it(tmp_path):
    code = """
import jax, numpy as np
from pathlib import Path
from jaxstyle.app.system import kept_programs
from jaxstyle.colour import symmetric_sqrt
kept_programs.kept_folder = lambda: Path("kept")
x = np.eye(3, dtype=np.float32)
print(kept_programs.compile_kept(symmetric_sqrt, x)(x).sum(), len(list(Path("kept").iterdir())))
"""
    for _ in range(2):
        run = [sys.executable, "-c", code]
        found = subprocess.run(run, cwd=tmp_path, env=environment(), capture_output=True, text=True, check=True)
        assert found.stdout.split() == ["3.0", "1"]


def transfer(style_loss="gram", **options):
    objective = js.make_objective(js.make_features(("relu1_1",)), style_loss=style_loss)
    return js.make_transfer(objective.loss, js.lbfgs(**options))


def test_equal_functions_have_one_fingerprint():
    assert fingerprint(transfer()) == fingerprint(transfer())
    adam = optax.inject_hyperparams(optax.adam)
    assert fingerprint(adam(0.1)) == fingerprint(adam(0.1))
    assert fingerprint(jax.jit(gram_matrix)) == fingerprint(jax.jit(gram_matrix))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (transfer(), transfer("wasserstein")),
        (transfer(), transfer(first_step=0.02)),
        (js.make_features(("relu1_1",)), js.make_features(("relu1_2",))),
        (js.make_features(("relu1_1",)), js.make_features(("relu1_1",), padding="replicate")),
        (optax.adam(0.1), optax.adam(0.2)),
        (jax.vmap(gram_matrix), jax.vmap(gram_matrix, 1)),
        (partial(resize, shape=(1, 2)), partial(resize, shape=(1, 2.0))),
        ({"a": 1}, {"b": 1}),
        ((1, (2,)), ((1, 2),)),
        (1, True),
        (np.ones(2), np.ones((2, 1))),
        (np.ones(2), np.zeros(2)),
        ([], ()),
    ],
)
def test_others_have_another(one, other):
    assert fingerprint(one) != fingerprint(other)


def test_what_contains_itself_has_a_fingerprint():
    loop = [1]
    loop.append(loop)
    assert fingerprint(loop) == fingerprint(loop) != fingerprint([1, [1]])


@pytest.mark.parametrize("unknown", [lambda: 0, partial(len, lambda: 0), subprocess.run, sys.stdout])
def test_what_is_unknown_has_none(unknown):
    with pytest.raises(UnknownError):
        fingerprint(unknown)


def test_arguments_are_told_apart():
    x = np.ones((2, 3), np.float32)
    found = [x, x.T, x.astype(np.float16), [x], {"a": x}, (x, x), 1, 1.0, jnp.ones((), jnp.int32)]
    assert len({describe_arguments(argument) for argument in found}) == len(found)
    assert describe_arguments(jnp.asarray(x)) == describe_arguments(x)


def test_settings_of_jax_are_told_apart(monkeypatch):
    found = [surroundings()]
    with jax.enable_x64(True):
        found.append(surroundings())
    with jax.default_matmul_precision("highest"):
        found.append(surroundings())
    monkeypatch.setenv("XLA_FLAGS", "--other")
    found.append(surroundings())
    assert len(set(found)) == 4


def test_programs_for_gpus_are_compiled_without_triton(folder, monkeypatch, rng):
    compiled = []
    plain = jax.stages.Lowered.compile
    monkeypatch.setattr(
        jax.stages.Lowered, "compile", lambda self, options=None: compiled.append(options) or plain(self, options)
    )
    monkeypatch.setattr(kept_programs.jax, "default_backend", lambda: "gpu")
    image = rng.random((8, 8, 3), np.float32)
    for program in (partial(compile_kept, shrink(4), image)(), jit_kept(shrink(4))):
        assert program(image).shape == (4, 4, 3)
    assert compiled == [{"xla_gpu_enable_triton_gemm": False}] * 2
    assert not folder.exists()
