import contextlib
import hashlib
import http.server
import itertools
import threading
import time

import jax
import numpy as np
import pytest

import jaxstyle as js
from jaxstyle.app.system.errors import RunError, StartError
from jaxstyle.app.system.locks import owned
from jaxstyle.app.weights import fetch_weight_set, http_download, store
from jaxstyle.app.weights.fetch_weight_set import fetch_set
from jaxstyle.pretrained import load, weight_files
from jaxstyle.pretrained.weight_sets import REMOTE_SETS, Download, RemoteSet
from tests.reference import foreign_files as foreign

CONTENT = np.random.RandomState(0).bytes(1_000_000)
SHA256 = hashlib.sha256(CONTENT).hexdigest()


class Handler(http.server.BaseHTTPRequestHandler):
    """A handler that answers as the server's `answer` says, and records what is asked for and sent."""

    def log_message(self, *_):
        pass

    def do_GET(self):
        server = self.server
        server.asked.append((self.path, dict(self.headers)))
        with contextlib.suppress(ConnectionError):
            server.answer(self, len(server.asked))


def send(handler, content, *, cut=None, ranges=True, pause=0.0, etag='"one"', **headers):
    """Send a file, or the part asked for; `cut` is the number of bytes after which the connection ends."""
    start, end, status = 0, len(content), 200
    asked = handler.headers.get("Range")
    if asked and ranges and handler.headers.get("If-Range", etag) == etag:
        first, _, last = asked.removeprefix("bytes=").partition("-")
        start, status = int(first), 206
        end = min(end, int(last) + 1) if last else end
        if start >= len(content):
            handler.send_response(416)
            handler.send_header("Content-Length", "0")
            handler.end_headers()
            return
    body = content[start:end]
    handler.send_response(status)
    handler.send_header("Content-Length", str(len(body)))
    if etag:
        handler.send_header("ETag", etag)
    if status == 206:
        handler.send_header("Content-Range", f"bytes {start}-{end - 1}/{len(content)}")
    for name, value in headers.items():
        handler.send_header(name.replace("_", "-"), value)
    handler.end_headers()
    body = body if cut is None else body[:cut]
    for i in range(0, len(body), 100_000):
        handler.wfile.write(body[i : i + 100_000])
        handler.server.sent += len(body[i : i + 100_000])
        time.sleep(pause)
    if cut is not None:
        handler.close_connection = True


def redirect(handler, where, **headers):
    handler.send_response(302)
    handler.send_header("Location", where)
    handler.send_header("Content-Length", "0")
    for name, value in headers.items():
        handler.send_header(name.replace("_", "-"), value)
    handler.end_headers()


@pytest.fixture
def server():
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as found:
        found.asked, found.sent, found.answer = [], 0, lambda handler, _: send(handler, CONTENT)
        found.url = f"http://127.0.0.1:{found.server_port}"
        thread = threading.Thread(target=found.serve_forever, args=(0.01,))
        thread.start()
        yield found
        found.shutdown()
        thread.join()


@pytest.fixture(autouse=True)
def quick(monkeypatch, tmp_path):
    monkeypatch.setenv("JAXSTYLE_CACHE", str(tmp_path / "cache"))
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.setattr(http_download, "_TIMEOUT", (2.0, 0.6))
    monkeypatch.setattr(http_download, "_PAUSES", (0.0, 0.0, 0.0))


@pytest.fixture
def fetched(monkeypatch):
    """Collect what is handed over for porting, instead of porting it."""
    found = []
    monkeypatch.setattr(fetch_weight_set, "port_file", lambda path, name: found.append(path.read_bytes()) or path)
    return found


def offer(monkeypatch, *downloads):
    sets = {"one": RemoteSet("VGG19", "nobody's", "none", tuple(downloads))}
    for module in (fetch_weight_set, store, load):
        monkeypatch.setattr(module, "REMOTE_SETS", sets)


def at(server, **changes):
    return Download(f"{server.url}/w.bin", "w.bin", f"sha256:{SHA256}", len(CONTENT))._replace(**changes)


def left_over(tmp_path):
    return sorted(p.name for p in (tmp_path / "cache" / "weights").glob("*") if not p.name.endswith(".lock"))


@pytest.mark.parametrize(
    "hash_", [f"sha256:{SHA256}", f"sha256:{SHA256[:8]}", f"md5:{hashlib.md5(CONTENT).hexdigest()}"]
)
@pytest.mark.parametrize("size", [None, len(CONTENT)])
def test_a_download(server, fetched, monkeypatch, tmp_path, hash_, size):
    offer(monkeypatch, at(server, hash=hash_, size=size))
    fetch_set("one")
    assert fetched == [CONTENT]
    assert left_over(tmp_path) == []
    assert "Range" not in server.asked[0][1]


def test_redirects(server, fetched, monkeypatch):
    hops = {"/w.bin": "/a", "/a": f"{server.url}/b"}
    server.answer = lambda h, _: redirect(h, hops[h.path]) if h.path in hops else send(h, CONTENT)
    offer(monkeypatch, at(server))
    fetch_set("one")
    assert [path for path, _ in server.asked] == ["/w.bin", "/a", "/b"]
    assert fetched == [CONTENT]


def test_redirects_without_an_end(server, monkeypatch):
    server.answer = lambda h, _: redirect(h, h.path + "a")
    offer(monkeypatch, at(server))
    with pytest.raises(RunError, match="it sends on without an end"):
        fetch_set("one")


def test_a_cut_connection_goes_on_where_it_stopped(server, fetched, monkeypatch):
    server.answer = lambda h, n: send(h, CONTENT, cut=327_680 if n < 3 else None)
    offer(monkeypatch, at(server))
    fetch_set("one")
    assert fetched == [CONTENT]
    assert [headers.get("Range") for _, headers in server.asked] == [None, "bytes=327680-", "bytes=655360-"]
    assert server.sent == len(CONTENT)


def test_the_next_call_goes_on_at_another_host(server, fetched, monkeypatch, tmp_path):
    server.answer = lambda h, n: send(h, CONTENT, cut=409_600) if n == 1 else h.send_error(404)
    offer(monkeypatch, at(server))
    with pytest.raises(RunError, match="404 Not Found"):
        fetch_set("one")
    assert left_over(tmp_path) == [f".{SHA256}.part"]
    server.answer = lambda h, _: send(h, CONTENT)
    offer(monkeypatch, at(server, url=f"{server.url}/mirror"))
    fetch_set("one")
    assert fetched == [CONTENT]
    assert server.asked[-1][1]["Range"] == "bytes=409600-"
    assert left_over(tmp_path) == []


def test_a_file_that_changes_between_two_tries_starts_anew(server, fetched, monkeypatch):
    other = bytes(len(CONTENT))
    server.answer = lambda h, n: send(h, other, cut=300_000, etag='"old"') if n == 1 else send(h, CONTENT)
    offer(monkeypatch, at(server))
    fetch_set("one")
    assert fetched == [CONTENT]
    assert server.asked[1][1]["If-Range"] == '"old"'


def test_a_stale_beginning_is_dropped(server, fetched, monkeypatch, tmp_path):
    folder = tmp_path / "cache" / "weights"
    folder.mkdir(parents=True)
    for stale in (bytes(200_000), bytes(2_000_000), CONTENT):
        (folder / f".{SHA256}.part").write_bytes(stale)
        offer(monkeypatch, at(server))
        fetch_set("one")
        assert fetched.pop() == CONTENT


def test_a_host_without_ranges(server, fetched, monkeypatch):
    server.answer = lambda h, n: send(h, CONTENT, cut=300_000 if n == 1 else None, ranges=False, etag="")
    offer(monkeypatch, at(server))
    fetch_set("one")
    assert fetched == [CONTENT]


def test_a_changed_file_is_refused_and_the_next_source_tried(server, fetched, monkeypatch, tmp_path):
    changed = CONTENT[:-1] + bytes([CONTENT[-1] ^ 1])
    server.answer = lambda h, _: send(h, changed if h.path == "/w.bin" else CONTENT)
    offer(monkeypatch, at(server))
    with pytest.raises(RunError, match=f"its file of 1000000 bytes has the sha256 .*, not the {SHA256} published"):
        fetch_set("one")
    assert left_over(tmp_path) == []
    assert fetched == []
    offer(monkeypatch, at(server), at(server, url=f"{server.url}/good"))
    fetch_set("one")
    assert fetched == [CONTENT]


@pytest.mark.parametrize("etag", ['"one"', ""])
def test_a_file_that_is_too_large_is_not_read(server, monkeypatch, etag):
    server.answer = lambda h, _: send(h, CONTENT * 3, etag=etag)
    offer(monkeypatch, at(server))
    with pytest.raises(RunError, match="3000000 bytes, not the 1000000 published"):
        fetch_set("one")


def test_errors_name_file_host_and_what_to_do_by_hand(server, monkeypatch, tmp_path):
    server.answer = lambda h, _: h.send_error(404)
    offer(monkeypatch, at(server))
    with pytest.raises(RunError) as caught:
        fetch_set("one")
    assert str(caught.value) == (
        f"cannot fetch one (127.0.0.1:{server.server_port}: it answers 404 Not Found); download w.bin by hand from "
        f"{server.url}/w.bin and run jaxstyle weights port w.bin, which puts it into {tmp_path / 'cache' / 'weights'}"
    )
    assert len(server.asked) == 1


@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_passing_fault_is_tried_again(server, fetched, monkeypatch, status):
    server.answer = lambda h, n: h.send_error(status) if n < 3 else send(h, CONTENT)
    offer(monkeypatch, at(server))
    fetch_set("one")
    assert fetched == [CONTENT]
    server.answer = lambda h, n: h.send_error(status)
    with pytest.raises(RunError, match=f"it answers {status}"):
        fetch_set("one")
    assert len(server.asked) == 3 + 4


def test_a_slow_host_is_waited_for(server, fetched, monkeypatch):
    server.answer = lambda h, _: send(h, CONTENT, pause=0.15)  # 1.5 s altogether, more than the limit for one pause
    offer(monkeypatch, at(server))
    fetch_set("one")
    assert fetched == [CONTENT]
    assert len(server.asked) == 1


@pytest.mark.parametrize("begun", [False, True])
def test_a_host_that_stands_still_is_given_up(server, monkeypatch, begun):
    release = threading.Event()

    def answer(handler, _):
        if begun:
            handler.send_response(200)
            handler.send_header("Content-Length", str(len(CONTENT)))
            handler.end_headers()
        release.wait(20)

    server.answer = answer
    monkeypatch.setattr(http_download, "_PAUSES", (0.0,))
    offer(monkeypatch, at(server))
    try:
        with pytest.raises(RunError, match="it stopped sending"):
            fetch_set("one")
    finally:
        release.set()


def test_a_dead_host_is_given_up_soon(monkeypatch, capsys):
    offer(monkeypatch, Download("http://127.0.0.1:1/w.bin", "w.bin", f"sha256:{SHA256}"))
    with pytest.raises(RunError, match="127.0.0.1:1: it can't be reached.*; download w.bin by hand"):
        fetch_set("one")
    assert capsys.readouterr().err.count("trying again") == 1


def test_a_host_that_gives_a_little_at_a_time_is_given_up(server, monkeypatch):
    server.answer = lambda h, _: send(h, CONTENT, cut=16_384)
    monkeypatch.setattr(http_download, "_MAX_TRIES", 10)
    offer(monkeypatch, at(server))
    with pytest.raises(RunError, match="the connection was cut|it stopped after"):
        fetch_set("one")
    assert len(server.asked) == 10


def test_a_proxy_and_its_password(server, fetched, monkeypatch, capsys):
    monkeypatch.setenv("http_proxy", "http://user:secret@127.0.0.1:1")
    offer(monkeypatch, at(server))
    with pytest.raises(RunError, match="the proxy can't be reached") as caught:
        fetch_set("one")
    assert "secret" not in str(caught.value) + capsys.readouterr().err
    assert not server.asked
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    fetch_set("one")
    assert fetched == [CONTENT]


def test_the_proxy_is_asked(server, fetched, monkeypatch):
    monkeypatch.setenv("http_proxy", server.url)
    offer(monkeypatch, at(server, url="http://no.such.host.example/w.bin"))
    fetch_set("one")
    assert server.asked[0][0] == "http://no.such.host.example/w.bin"
    assert fetched == [CONTENT]


def test_no_password_of_netrc_is_sent(server, fetched, monkeypatch, tmp_path):
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login me password secret\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    offer(monkeypatch, at(server))
    fetch_set("one")
    assert "Authorization" not in server.asked[0][1]


def test_a_full_disk(server, monkeypatch, tmp_path):
    folder = tmp_path / "cache" / "weights"
    folder.mkdir(parents=True)
    (folder / f".{SHA256}.part").symlink_to("/dev/full")
    offer(monkeypatch, at(server))
    with pytest.raises(RunError, match=f"cannot write to {folder}: the disk is full"):
        fetch_set("one")


def test_a_cache_that_cannot_be_made(monkeypatch, tmp_path):
    (tmp_path / "cache").write_text("")
    with pytest.raises((StartError, RunError), match="cannot make .*weights"):
        fetch_set("vgg19-oxford")


def test_two_processes_do_not_fetch_the_same(server, monkeypatch, tmp_path):
    offer(monkeypatch, at(server))
    store.make_folder()
    with (
        owned(tmp_path / "cache" / "weights" / ".one.lock", "never said"),
        pytest.raises(StartError, match="another proc"),
    ):
        fetch_set("one")


def test_unknown_names():
    with pytest.raises(StartError, match="nothing to fetch is called 'vgg19'; there are vgg19-oxford, vgg19-torchv"):
        fetch_set("vgg19")


def test_h5py_is_asked_for_before_the_download(server, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "h5py", None)
    offer(monkeypatch, at(server, file="w.h5"))
    with pytest.raises(StartError, match="pip install h5py"):
        fetch_set("one")
    assert not server.asked


def timm_file(tmp_path):
    state = foreign.torch_state(foreign.make_network("VGG16", first_taps=foreign.TORCHVISION_TAPS), "VGG16")
    state |= {"head.fc.weight": np.ones((1000, 5000), np.float32), "pre_logits.fc2.bias": np.ones(9, np.float32)}
    path = tmp_path / "timm.safetensors"
    foreign.write_safetensors(path, state)
    return path


def test_only_the_convolutions_of_timms_file_are_read(server, monkeypatch, tmp_path):
    path = timm_file(tmp_path)
    content = path.read_bytes()
    sha256 = hashlib.sha256(content).hexdigest()
    cuts = itertools.chain([None, 20_000_000], itertools.repeat(None))

    def answer(handler, _):
        if handler.path == "/hub":
            redirect(handler, "/file", X_Linked_ETag=f'"{sha256}"')
        else:
            send(handler, content, cut=next(cuts))

    server.answer = answer
    offer(monkeypatch, Download(f"{server.url}/hub", path.name, f"sha256:{sha256}", ranged=True))
    found = fetch_set("one")
    assert server.sent < len(content) - 19_000_000  # the classifier's 20 MB aren't sent
    monkeypatch.setenv("JAXSTYLE_CACHE", str(tmp_path / "other"))
    whole = store.port_file(path, "whole")
    assert found.read_bytes() == whole.read_bytes()
    assert sorted(p.name for p in found.parent.glob("*") if not p.name.endswith(".lock")) == [
        "one.json",
        "one.safetensors",
    ]


@pytest.mark.parametrize("case", ["another hash", "no hash", "no ranges"])
def test_without_the_hosts_word_the_whole_file_is_read(server, fetched, monkeypatch, tmp_path, case):
    content = timm_file(tmp_path).read_bytes()
    sha256 = hashlib.sha256(content).hexdigest()
    told = {"another hash": {"X_Linked_ETag": f'"{SHA256}"'}, "no hash": {}}.get(case, {"X_Linked_ETag": f'"{sha256}"'})
    server.answer = lambda h, _: send(h, content, ranges=case != "no ranges", **told)
    offer(monkeypatch, at(server, hash=f"sha256:{sha256}", size=None, ranged=True))
    fetch_set("one")
    assert fetched == [content]


def test_from_the_host_to_parameters(server, monkeypatch, tmp_path):
    path = weight_files.bundled_path("vgg16-in-vgg19.safetensors")
    content = path.read_bytes()
    server.answer = lambda h, _: send(h, content)
    offer(monkeypatch, at(server, hash=f"sha256:{hashlib.sha256(content).hexdigest()}", size=len(content)))
    found = fetch_set("one")
    assert found == tmp_path / "cache" / "weights" / "one.safetensors"
    jax.tree.map(np.testing.assert_array_equal, js.load_params("one"), js.load_params("bundled"))
    assert fetch_set("one") == found
    assert len(server.asked) == 1
    found.write_bytes(found.read_bytes()[:-1])
    assert fetch_set("one") == found
    js.load_params("one")
    assert len(server.asked) == 2


def test_the_public_sets_have_two_sources_and_a_hash_each():
    for name, remote in REMOTE_SETS.items():
        assert len({d.url.split("/")[2] for d in remote.downloads}) >= 2, name
        for source in remote.downloads:
            kind, _, digits = source.hash.partition(":")
            assert len(digits) in {"md5": (32,), "sha256": (8, 64)}[kind]
            assert source.url.startswith("https://")
            assert not source.ranged or len(digits) == 64
