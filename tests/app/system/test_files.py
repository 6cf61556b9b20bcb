"""Files are written whole or not at all, and finished work is kept, whatever the file system lacks."""

import errno
import os
import stat
from pathlib import Path

import pytest

from jaxstyle.app.system import files, signals
from jaxstyle.app.system.errors import AppError, StartError, WriteError
from jaxstyle.app.system.files import check_folder, check_target, write_atomic, write_or_keep

LACKING = (errno.EPERM, errno.EACCES, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL, errno.EIO)


def failing(number, real=None, fails=lambda *_: True):
    """Make a function that raises as a system call does."""

    def call(*args, **kwargs):
        if fails(*args):
            raise OSError(number, os.strerror(number))
        return real(*args, **kwargs)

    return call


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    assert not signals._State.passing


def names(folder):
    return sorted(os.listdir(folder))


@pytest.mark.parametrize("number", LACKING)
def test_a_file_system_without_second_names(folder, monkeypatch, number):
    monkeypatch.setattr(os, "link", failing(number))
    write_atomic(Path("a"), b"1", overwrite=False)
    assert (folder / "a").read_bytes() == b"1"
    with pytest.raises(StartError, match="cannot write a: file exists"):
        write_atomic(Path("a"), b"2", overwrite=False)
    assert (folder / "a").read_bytes() == b"1"
    monkeypatch.setattr(os, "replace", failing(number))
    with pytest.raises(AppError, match="cannot write b"):
        write_atomic(Path("b"), b"2", overwrite=False)
    assert names(folder) == ["a"]


def test_a_file_that_takes_the_place_of_the_empty_one_stays(folder, monkeypatch):
    monkeypatch.setattr(os, "link", failing(errno.EPERM))
    real = Path.open

    def open_then_replaced(path, mode="r", *args, **kwargs):
        file = real(path, mode, *args, **kwargs)
        if path.name == "a" and mode == "xb":
            (folder / "other").write_bytes(b"mine")
            (folder / "other").replace(path)
        return file

    monkeypatch.setattr(Path, "open", open_then_replaced)
    with pytest.raises(StartError, match="cannot write a: file exists"):
        write_atomic(Path("a"), b"1", overwrite=False)
    assert names(folder) == ["a"]
    assert (folder / "a").read_bytes() == b"mine"


@pytest.mark.skipif(os.name != "posix", reason="other systems have no such modes")
def test_a_file_has_the_mode_of_the_umask_without_chmod(folder, monkeypatch):
    for name in ("chmod", "fchmod"):
        monkeypatch.setattr(os, name, failing(errno.EPERM))
    before = os.umask(0o027)
    try:
        write_atomic(Path("a"), b"1")
    finally:
        os.umask(before)
    assert stat.S_IMODE((folder / "a").stat().st_mode) == 0o640


@pytest.mark.parametrize("number", [errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, errno.EPERM, errno.EIO])
def test_a_flush_to_disk_counts_where_it_says_that_data_are_lost(folder, monkeypatch, number):
    monkeypatch.setattr(os, "fsync", failing(number))
    if number == errno.EIO:
        with pytest.raises(WriteError, match="cannot write a: input/output error"):
            write_atomic(Path("a"), b"1")
    else:
        write_atomic(Path("a"), b"1")
    assert names(folder) == ([] if number == errno.EIO else ["a"])


@pytest.mark.parametrize("size", [240, 255])
def test_a_name_as_long_as_they_may_be(folder, size):
    path = Path("x" * size)
    check_target(path, overwrite=False)
    write_atomic(path, b"1", overwrite=False)
    assert names(folder) == [path.name]


def test_a_link_stays_and_its_file_is_replaced(folder):
    (folder / "in").mkdir()
    (folder / "in" / "a").write_bytes(b"old")
    (folder / "link").symlink_to("in/a")
    check_target(Path("link"), overwrite=True)
    write_or_keep(Path("link"), b"new", overwrite=True)
    assert (folder / "link").is_symlink()
    assert (folder / "in" / "a").read_bytes() == b"new"
    assert names(folder / "in") == ["a"]


def test_a_link_in_a_run_folder_leads_nowhere(folder):
    (folder / "outside").write_bytes(b"mine")
    (folder / "run").mkdir()
    (folder / "run" / "report.html").symlink_to("../outside")
    write_atomic(Path("run/report.html"), b"new")
    assert (folder / "outside").read_bytes() == b"mine"
    assert (folder / "run" / "report.html").read_bytes() == b"new"


@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize(
    ("path", "pattern"),
    [
        ("taken", "taken exists; give another file, or --overwrite"),
        ("link", "link exists; give another file, or --overwrite"),
        ("dangling", "dangling is a link that leads to no file"),
        ("loop", "loop is a link that leads to no file"),
        ("inside", "cannot write inside: give the name of a file"),
        ("pipe", "pipe exists|pipe: it is not a regular file"),
        ("none/a", "give the name of a file in a folder that exists"),
        ("taken/a", "not a directory"),
        ("x" * 256, "file name too long"),
    ],
)
def test_what_can_be_known_before_is_said_before(folder, path, pattern, overwrite):
    (folder / "taken").write_bytes(b"mine")
    (folder / "link").symlink_to("taken")
    (folder / "dangling").symlink_to("nothing")
    (folder / "loop").symlink_to("loop")
    (folder / "inside").mkdir()
    os.mkfifo("pipe")
    before = names(folder)
    if overwrite and path in ("taken", "link"):
        check_target(Path(path), overwrite=True)
    else:
        with pytest.raises(StartError, match=pattern):
            check_target(Path(path), overwrite=overwrite)
    assert names(folder) == before


@pytest.mark.parametrize(("number", "kind"), [(errno.EROFS, StartError), (errno.ENOSPC, WriteError)])
def test_a_folder_is_tried_by_writing(monkeypatch, number, kind):
    """For root, or with access lists, os.access is wrong about what happens."""
    monkeypatch.setattr(Path, "open", failing(number))
    with pytest.raises(kind, match="cannot write a.png: "):
        check_target(Path("a.png"), overwrite=False)
    with pytest.raises(kind, match="cannot write into .: "):
        check_folder(Path())


def test_what_cannot_be_written_in_its_place_is_kept_in_another(folder, monkeypatch):
    (folder / "gone").mkdir()
    with pytest.raises(WriteError, match="cannot write nowhere/a.png: no such file or directory; it is in") as caught:
        write_or_keep(Path("nowhere/a.png"), b"1", overwrite=False)
    (kept,) = folder.glob("a-*.png")
    assert str(kept) in str(caught.value)
    assert kept.read_bytes() == b"1"
    elsewhere = folder / "gone"
    monkeypatch.setattr(files.tempfile, "gettempdir", lambda: str(elsewhere))
    monkeypatch.setattr(Path, "open", failing(errno.EROFS, Path.open, lambda path, *_: path.parent != elsewhere))
    with pytest.raises(WriteError, match=r"permission denied; .*; it is in .*/gone/a-\w+.png instead"):
        write_or_keep(Path("a.png"), b"2", overwrite=True)
    (kept,) = elsewhere.iterdir()
    assert kept.read_bytes() == b"2"
    monkeypatch.setattr(Path, "open", failing(errno.ENOSPC))
    with pytest.raises(WriteError, match="the disk is full; .*; nor can it be kept anywhere else"):
        write_or_keep(Path("a.png"), b"3", overwrite=True)
    assert len(names(folder)) == 2
