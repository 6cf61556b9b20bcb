import errno
import os
import warnings
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import platformdirs
import pytest

import jaxstyle as js
from jaxstyle.app.system import compilation_cache
from jaxstyle.app.system.compilation_cache import use_compilation_cache
from jaxstyle.app.weights.store import make_folder
from jaxstyle.pretrained.cache_folder import cache_folder
from jaxstyle.pretrained.weight_files import WeightsError
from tests.command import fails

SETTINGS = ("jax_compilation_cache_dir", "jax_persistent_cache_min_compile_time_secs")


@pytest.fixture(autouse=True)
def setting(monkeypatch):
    """Restore what users have: the tests have a cache of their own."""
    monkeypatch.delenv("JAX_COMPILATION_CACHE_DIR", raising=False)
    before = {name: getattr(jax.config, name) for name in SETTINGS}
    with warnings.catch_warnings():
        yield
    for name, value in before.items():
        jax.config.update(name, value)
    compilation_cache._note.cache_clear()


def test_folder_is_the_users_unless_named(monkeypatch, tmp_path):
    monkeypatch.setenv("JAXSTYLE_CACHE", str(tmp_path))
    assert cache_folder() == tmp_path
    monkeypatch.delenv("JAXSTYLE_CACHE")
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    assert cache_folder().name == "jaxstyle"
    assert Path.home() in cache_folder().parents


def test_compiled_programs_are_kept_there(monkeypatch, tmp_path):
    monkeypatch.setenv("JAXSTYLE_CACHE", str(tmp_path))
    use_compilation_cache()
    assert jax.config.jax_compilation_cache_dir == str(tmp_path / "compiled")


def test_jaxs_own_variable_wins(monkeypatch, tmp_path):
    jax.config.update("jax_compilation_cache_dir", None)
    monkeypatch.setenv("JAXSTYLE_CACHE", str(tmp_path))
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", "")
    use_compilation_cache()
    assert jax.config.jax_compilation_cache_dir is None
    assert not list(tmp_path.iterdir())


def test_a_folder_that_cannot_be_made_is_no_error(monkeypatch, tmp_path, capsys):
    jax.config.update("jax_compilation_cache_dir", None)
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("JAXSTYLE_CACHE", str(tmp_path / "file"))
    use_compilation_cache()
    assert jax.config.jax_compilation_cache_dir is None
    line = f"note: compiled programs can't be kept in {tmp_path / 'file' / 'compiled'}; JAXSTYLE_CACHE can name another"
    use_compilation_cache()
    assert capsys.readouterr().err == f"{line} folder\n"


def test_a_folder_that_cannot_be_written_is_read_only(monkeypatch, tmp_path, capsys):
    def refuse(path, mode="r", *_):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(path))

    monkeypatch.setenv("JAXSTYLE_CACHE", str(tmp_path))
    monkeypatch.setattr(Path, "open", refuse)
    use_compilation_cache()
    monkeypatch.undo()
    assert jax.config.jax_compilation_cache_dir == str(tmp_path / "compiled")
    jax.jit(lambda x: jnp.sort(jnp.linalg.inv(x)))(jnp.eye(3))  # a warning here would fail the test
    assert os.listdir(tmp_path / "compiled") == []
    assert capsys.readouterr().err.count("\n") == 1


def test_a_program_that_cannot_be_kept_gives_no_warning(monkeypatch, tmp_path):
    monkeypatch.setenv("JAXSTYLE_CACHE", str(tmp_path))
    use_compilation_cache()
    warnings.warn("Error writing persistent compilation cache entry for 'jit_f': OSError: quota", stacklevel=1)


@pytest.fixture(params=["raises", "gives ~"])
def homeless(request, monkeypatch, tmp_path):
    """A user has no home folder, to which versions of platformdirs react differently."""

    def user_cache_dir(_):
        if request.param == "raises":
            raise RuntimeError("could not determine the home directory")
        return "~/.cache/jaxstyle"

    def expanduser(path):
        if path.parts[:1] == ("~",):
            raise RuntimeError("Could not determine home directory.")
        return path

    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("JAXSTYLE_CACHE")
    monkeypatch.setattr(platformdirs, "user_cache_dir", user_cache_dir)
    monkeypatch.setattr(Path, "expanduser", expanduser)
    yield
    assert os.listdir(tmp_path) == []


def test_without_a_home_folder_all_goes_on_but_what_would_be_kept(homeless, monkeypatch, capsys):
    assert cache_folder() is None
    jax.config.update("jax_compilation_cache_dir", None)
    use_compilation_cache()
    use_compilation_cache()
    line = "note: there is no home folder to keep compiled programs in; JAXSTYLE_CACHE can name a folder\n"
    assert capsys.readouterr().err == line
    assert jax.config.jax_compilation_cache_dir is None
    assert np.isfinite(js.load_params("random:0")["mean"]).all()
    with pytest.raises(WeightsError, match="no home folder to keep weights in; JAXSTYLE_CACHE"):
        js.load_params("vgg19-oxford")
    fails(capsys, 2, "no home folder to keep weights in; JAXSTYLE_CACHE", "weights", "fetch", "vgg19-oxford")
    monkeypatch.setenv("JAXSTYLE_CACHE", "~/cache")
    assert cache_folder() is None


def test_a_home_folder_of_another_name(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("JAXSTYLE_CACHE", "~/mine")
    assert cache_folder() == tmp_path / "mine"
    assert make_folder() == tmp_path / "mine" / "weights"
