"""Fetching VGG's weights from public hosts: resumed, retried, checked against the published hash, then ported."""

import re
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple, NoReturn
from urllib.parse import urlsplit

import numpy as np
import requests
import urllib3
from tqdm import tqdm

from jaxstyle.app.system.errors import RunError, StartError
from jaxstyle.app.system.files import explain
from jaxstyle.app.system.locks import owned
from jaxstyle.app.system.screen import is_terminal, tell
from jaxstyle.app.weights.source_files import SourceFile, UnreadableError, need_h5py, parse_header, tensors_of_span
from jaxstyle.app.weights.store import hash_file, make_folder, matches, port_file, port_source
from jaxstyle.pretrained.conversion import may_be_needed
from jaxstyle.pretrained.set_files import WeightsError, find_cached, read_set, set_path
from jaxstyle.pretrained.weight_sets import REMOTE_SETS, Download

_TIMEOUT = (10.0, 30.0)  # seconds to connect, and without a byte
_PAUSES = (1.0, 2.0, 4.0, 8.0)  # seconds before each retry that follows one without progress
_MAX_TRIES = 100
_MAX_BYTES = 2**30
_HEADER_BYTES = 2**16
_CHUNK = 2**14


class _Failed(Exception):
    """A download that came to nothing; the message gives the reason without the host."""


class _NoRanges(_Failed):
    """The host sends whole files only."""


class _Passing(Exception):
    """A fault that may be gone at the next try."""


class _Part(NamedTuple):
    """What to fetch of a URL into a file: all of it, or the bytes from `start` to `end`."""

    url: str
    path: Path
    start: int = 0
    end: int | None = None


def fetch_set(name: str) -> Path:
    """Fetch a public weight set into the cache folder, unless it is there already.

    A download that was cut off goes on where it stopped, by the next try or the next call, at whichever host has the
    same file.

    Returns:
      The path of the set's safetensors file.

    Raises:
      StartError: for an unknown name, a missing package, or another process that is fetching it.
      RunError: if no host has it, or the disk is full.
    """
    if name not in REMOTE_SETS:
        raise StartError(f"nothing to fetch is called {name!r}; there are {', '.join(REMOTE_SETS)}")
    folder = make_folder()
    try:
        if find_cached(name) is not None:
            read_set(name)
            tell(f"{name} is there already")
            return set_path(name).absolute()
    except WeightsError as error:
        tell(f"{error}: fetching it again")
        set_path(name).with_suffix(".json").unlink(missing_ok=True)
    try:
        busy = f"another process is fetching {name}; wait for it"
        with owned(folder / f".{name}.lock", busy), requests.Session() as session:
            session.auth = _no_auth
            session.headers["Accept-Encoding"] = "identity"  # the bytes of the file, so that ranges count those
            return _fetch_any(session, name, folder)
    except OSError as error:
        raise explain(error, f"cannot write to {folder}") from error


def _no_auth(request: Any) -> Any:
    """No passwords of the user's .netrc for public hosts."""
    return request


def _fetch_any(session: requests.Session, name: str, folder: Path) -> Path:
    downloads, reasons = REMOTE_SETS[name].downloads, []
    for download in downloads:
        if download.file.endswith(".h5"):
            need_h5py()
        host = urlsplit(download.url).netloc
        tell(f"fetching {download.file} from {host}")
        try:
            part = folder / f".{download.hash.partition(':')[2]}.part"
            if download.ranged and (path := _fetch_convolutions(session, name, download, part)):
                return path
            return _fetch_whole(session, name, download, part)
        except _Failed as error:
            reasons.append(f"{host}: {error}")
    raise RunError(
        f"cannot fetch {name} ({'; '.join(reasons)}); download {downloads[0].file} by hand from {downloads[0].url} and "
        f"run jaxstyle weights port {downloads[0].file}, which puts it into {folder}"
    )


def _fetch_whole(session: requests.Session, name: str, download: Download, path: Path) -> Path:
    resumed = path.exists()
    _fetch_part(session, _Part(download.url, path), download.size)
    hashes = hash_file(path)
    if resumed and not matches(download, hashes):  # perhaps the beginning was of another file
        path.unlink()
        _fetch_part(session, _Part(download.url, path), download.size)
        hashes = hash_file(path)
    file = path.with_name(download.file)
    path.replace(file)
    try:
        if matches(download, hashes):
            return port_file(file, name)
        kind, _, published = download.hash.partition(":")
        raise _Failed(
            f"its file of {file.stat().st_size} bytes has the {kind} {hashes[kind]}, not the {published} published"
        )
    finally:
        file.unlink(missing_ok=True)


def _fetch_convolutions(session: requests.Session, name: str, download: Download, path: Path) -> Path | None:
    """Fetch the convolutions' bytes of a safetensors file; None if the host doesn't confirm that it is the file.

    The bytes themselves can't be checked against the hash of a whole file, of which they are a part: that the host
    names this hash, and the encrypted connection, have to do.
    """
    head = _Part(download.url, path.with_suffix(".head"), 0, _HEADER_BYTES)
    head.path.unlink(missing_ok=True)
    try:
        told = _fetch_part(session, head, None)
        if f"sha256:{told}" != download.hash:
            return None
        first, entries = parse_header(head.path.read_bytes())
    except (UnreadableError, _NoRanges):
        return None
    finally:
        head.path.unlink(missing_ok=True)
    wanted = {key: entry for key, entry in entries.items() if key.startswith("features.") and _is_convolution(entry)}
    if not wanted:
        return None
    start, end = min(e[2] for e in wanted.values()), max(e[3] for e in wanted.values())
    if not 0 <= start < end <= 2 * sum(e[3] - e[2] for e in wanted.values()) + start:
        return None
    span = _Part(download.url, path.with_suffix(".span"), first + start, first + end)
    if f"sha256:{_fetch_part(session, span, None)}" != download.hash:
        span.path.unlink()
        raise _Failed("the file changed while it was fetched")
    tensors = tensors_of_span(span.path.read_bytes(), start, wanted)
    hashes = {"sha256": download.hash.partition(":")[2]}
    try:
        return port_source(SourceFile("safetensors", tensors, "OIHW"), name, download.file, hashes, known=name)
    finally:
        span.path.unlink(missing_ok=True)


def _is_convolution(entry: tuple[str, tuple[int, ...], int, int]) -> bool:
    dtype, shape, start, end = entry
    return dtype == "F32" and may_be_needed(shape, "OIHW") and end - start == 4 * int(np.prod(shape))


def _fetch_part(session: requests.Session, part: _Part, size: int | None) -> str | None:
    """Fetch a part into its file, from where that ends; return the sha256 that the host names, if it does.

    Hugging Face's hub names the sha256 of a large file in a header, X-Linked-ETag.

    Raises:
      _Failed: after an answer that no retry changes, or several tries without progress.
    """
    failures, tag, reason = 0, "", ""
    for _ in range(_MAX_TRIES):
        before = part.path.stat().st_size if part.path.exists() else 0
        try:
            response = _request(session, part, before, tag)
            with response:
                tag = response.headers.get("ETag", "")
                told = next((r.headers["X-Linked-ETag"] for r in [*response.history, response]
                             if "X-Linked-ETag" in r.headers), "")  # fmt: skip
                _receive(response, part, before, size)
                return told.strip('W/"') or None
        except requests.RequestException as error:
            reason, patience = _explain(error), len(_PAUSES)
            if reason == _UNREACHABLE:  # offline, most often: soon to be said
                patience = 1
        except _Passing as error:
            reason, patience = str(error), len(_PAUSES)
        after = part.path.stat().st_size if part.path.exists() else 0
        failures = 1 if after > before else failures + 1
        if failures > patience:
            break
        tell(f"{urlsplit(part.url).netloc}: {reason}; trying again")
        time.sleep(_PAUSES[failures - 1])
    raise _Failed(reason)


def _request(session: requests.Session, part: _Part, have: int, tag: str) -> requests.Response:
    headers = {}
    if have or part.end is not None:
        headers["Range"] = f"bytes={part.start + have}-{part.end - 1 if part.end is not None else ''}"
        if tag and not tag.startswith("W/"):
            headers["If-Range"] = tag
    if part.end is not None and have >= part.end - part.start:
        headers["Range"] = f"bytes={part.start}-{part.start}"  # it is all there: only ask what file it is
    response = session.get(part.url, headers=headers, stream=True, timeout=_TIMEOUT)
    schemes = [urlsplit(r.url).scheme for r in [*response.history, response]]
    if schemes[0] == "https" and "http" in schemes:
        response.close()
        raise _Failed("it sends on to an address without encryption")
    return response


def _receive(response: requests.Response, part: _Part, have: int, size: int | None) -> None:
    """Write an answer to the part's file.

    Raises:
      _Failed: for an answer that is not the file, and one that is too large.
      _Passing: for one that ends too early.
    """
    whole = part.end is None
    status = response.status_code
    if not whole and have >= (part.end or 0) - part.start:
        return
    if status == 416 and whole and have:  # all there already, or more: the hash tells
        return
    start, total = 0, response.headers.get("Content-Length", "")
    if status == 206:
        match = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", response.headers.get("Content-Range", ""))
        if match is None or int(match[1]) != part.start + have:
            raise _Failed("it sends other bytes than those asked for")
        start, total = have, match[2]
    elif status != 200:
        raise (_Passing if status in (408, 425, 429) or status >= 500 else _Failed)(
            f"it answers {status} {response.reason}"
        )
    elif not whole:
        raise _NoRanges("it sends the whole file where a part was asked for")
    last = part.end - part.start if part.end is not None else int(total) if total.isdecimal() else None
    if not whole and last is not None and total.isdecimal():
        last = min(last, int(total) - part.start)
    limit = size or (last if not whole and last is not None else _MAX_BYTES)
    if (last or 0) > limit:
        raise _Failed(f"its file has {last} bytes, not the {limit} published")
    _write(response, part.path, start, last, limit)


def _write(response: requests.Response, path: Path, start: int, last: int | None, limit: int) -> None:
    with (
        path.open("ab" if start else "wb") as file,
        tqdm(total=last, initial=start, unit="B", unit_scale=True, disable=not is_terminal(), leave=False) as bar,
    ):
        have = start
        for chunk in response.iter_content(_CHUNK):
            have += len(chunk)
            if have > limit:
                raise _Failed(f"it sends more than the {limit} bytes published")
            file.write(chunk)
            bar.update(len(chunk))
    if last is not None and have < last:
        raise _Passing(f"it stopped after {have} of {last} bytes")


_UNREACHABLE = "it can't be reached"
_REASONS: Mapping[type[Exception], str] = {
    requests.exceptions.ProxyError: "the proxy can't be reached or refuses (HTTPS_PROXY, HTTP_PROXY)",
    requests.exceptions.SSLError: "its certificate is not accepted",
    requests.exceptions.ConnectTimeout: _UNREACHABLE,
    requests.exceptions.ReadTimeout: "it stopped sending",
    requests.exceptions.ChunkedEncodingError: "the connection was cut",
    requests.exceptions.ConnectionError: _UNREACHABLE,
}


def _explain(error: requests.RequestException) -> str:
    """Why a request failed, without the library's words, which hold the proxy's address and password."""
    lasting = (
        requests.exceptions.TooManyRedirects,
        requests.exceptions.InvalidURL,
        requests.exceptions.InvalidSchema,
        requests.exceptions.InvalidProxyURL,
    )
    if isinstance(error, lasting):
        _give_up(error)
    if isinstance(error.args[0] if error.args else None, urllib3.exceptions.ReadTimeoutError):
        return "it stopped sending"
    return next((reason for kind, reason in _REASONS.items() if isinstance(error, kind)), "it can't be read")


def _give_up(error: requests.RequestException) -> NoReturn:
    if isinstance(error, requests.exceptions.TooManyRedirects):
        raise _Failed("it sends on without an end") from error
    if isinstance(error, requests.exceptions.InvalidProxyURL):
        raise _Failed("the proxy's address is not one (HTTPS_PROXY, HTTP_PROXY)") from error
    raise _Failed("its address is not one") from error
