import errno
import os
import sys
from pathlib import Path

import pytest

from jaxstyle.app.system import signals
from jaxstyle.app.system.errors import StartError
from jaxstyle.app.system.locks import owned

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="replaces flock")


@pytest.fixture
def path(tmp_path):
    return tmp_path / ".lock"


def refuse(monkeypatch, number):
    import fcntl

    def flock(*_):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", flock)


def test_one_at_a_time(path):
    for _ in range(2):
        with owned(path, "busy"), pytest.raises(StartError, match="^busy$"), owned(path, "busy"):
            pass
    assert os.listdir(path.parent) == [".lock"]


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS, errno.EPERM, errno.EINVAL, errno.EIO])
def test_without_locks_a_file_stands_for_one(path, monkeypatch, capsys, number):
    mark = path.with_name(".lock-held")
    refuse(monkeypatch, number)
    with owned(path, "busy"):
        assert capsys.readouterr().err == (
            f"note: this file system has no locks: the file {mark} stands for one until the command ends\n"
        )
        text = f"^busy; if process {os.getpid()} of .* is gone, remove {mark} and try again$"
        with pytest.raises(StartError, match=text), owned(path, "busy"):
            pass
        monkeypatch.undo()  # now comes a host that has locks on the same file system
        with pytest.raises(StartError, match=text), owned(path, "busy"):
            pass
        assert mark.exists()
    assert not mark.exists()
    with owned(path, "busy"):
        pass


def test_a_signal_removes_the_file(path, monkeypatch):
    refuse(monkeypatch, errno.ENOLCK)
    monkeypatch.setattr(os, "_exit", lambda _: None)
    with owned(path, "busy"):
        signals.exit_at_once(15)
        assert os.listdir(path.parent) == [".lock"]


def test_a_folder_that_cannot_be_written(tmp_path):
    with pytest.raises(OSError, match="No such file"), owned(Path(tmp_path / "none" / ".lock"), "busy"):
        pass
