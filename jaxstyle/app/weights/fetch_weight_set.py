"""Fetch public weight sets: download each from the first host that has it, check it, and port it into the cache."""

from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import requests

from jaxstyle.app.system.errors import RunError, StartError
from jaxstyle.app.system.files import explain
from jaxstyle.app.system.locks import owned
from jaxstyle.app.system.screen import tell
from jaxstyle.app.weights.file_formats import SourceFile, UnreadableError, need_h5py, parse_header, tensors_of_span
from jaxstyle.app.weights.http_download import DownloadError, NoRangesError, Part, download_part, open_session
from jaxstyle.app.weights.store import hash_file, make_folder, matches, port_file, port_source
from jaxstyle.pretrained.vgg_conversion import may_be_needed
from jaxstyle.pretrained.weight_files import WeightsError, find_cached, read_set, set_path
from jaxstyle.pretrained.weight_sets import REMOTE_SETS, Download

_HEADER_BYTES = 2**16


def fetch_set(name: str) -> Path:
    """Fetch a public weight set into the cache folder, unless it is there already.

    The next try, or the next call, takes up a download that was cut off where it stopped, at whichever host has the
    same file.

    Returns:
      The path of the set's safetensors file.

    Raises:
      StartError: if the name is unknown, a package is missing, or another process is fetching the set.
      RunError: if no host has the set, or the disk is full.
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
        with owned(folder / f".{name}.lock", busy), open_session() as session:
            return _fetch_any(session, name, folder)
    except OSError as error:
        raise explain(error, f"cannot write to {folder}") from error


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
        except DownloadError as error:
            reasons.append(f"{host}: {error}")
    raise RunError(
        f"cannot fetch {name} ({'; '.join(reasons)}); download {downloads[0].file} by hand from {downloads[0].url} and "
        f"run jaxstyle weights port {downloads[0].file}, which puts it into {folder}"
    )


def _fetch_whole(session: requests.Session, name: str, download: Download, path: Path) -> Path:
    resumed = path.exists()
    download_part(session, Part(download.url, path), download.size)
    hashes = hash_file(path)
    if resumed and not matches(download, hashes):  # perhaps the beginning came from another file
        path.unlink()
        download_part(session, Part(download.url, path), download.size)
        hashes = hash_file(path)
    file = path.with_name(download.file)
    path.replace(file)
    try:
        if matches(download, hashes):
            return port_file(file, name)
        kind, _, published = download.hash.partition(":")
        raise DownloadError(
            f"its file of {file.stat().st_size} bytes has the {kind} {hashes[kind]}, not the {published} published"
        )
    finally:
        file.unlink(missing_ok=True)


def _fetch_convolutions(session: requests.Session, name: str, download: Download, path: Path) -> Path | None:
    """Fetch the convolutions' bytes of a safetensors file; return None if the host doesn't confirm which file it has.

    The bytes are part of a file whose hash is published only as a whole, so they can't be checked against it. It has
    to suffice that the host names this hash and that the connection is encrypted.
    """
    head = Part(download.url, path.with_suffix(".head"), 0, _HEADER_BYTES)
    head.path.unlink(missing_ok=True)
    try:
        told = download_part(session, head, None)
        if f"sha256:{told}" != download.hash:
            return None
        first, entries = parse_header(head.path.read_bytes())
    except (UnreadableError, NoRangesError):
        return None
    finally:
        head.path.unlink(missing_ok=True)
    wanted = {key: entry for key, entry in entries.items() if key.startswith("features.") and _is_convolution(entry)}
    if not wanted:
        return None
    start, end = min(e[2] for e in wanted.values()), max(e[3] for e in wanted.values())
    if not 0 <= start < end <= 2 * sum(e[3] - e[2] for e in wanted.values()) + start:
        return None
    span = Part(download.url, path.with_suffix(".span"), first + start, first + end)
    if f"sha256:{download_part(session, span, None)}" != download.hash:
        span.path.unlink()
        raise DownloadError("the file changed while it was fetched")
    tensors = tensors_of_span(span.path.read_bytes(), start, wanted)
    hashes = {"sha256": download.hash.partition(":")[2]}
    try:
        return port_source(SourceFile("safetensors", tensors, "OIHW"), name, download.file, hashes, known=name)
    finally:
        span.path.unlink(missing_ok=True)


def _is_convolution(entry: tuple[str, tuple[int, ...], int, int]) -> bool:
    dtype, shape, start, end = entry
    return dtype == "F32" and may_be_needed(shape, "OIHW") and end - start == 4 * int(np.prod(shape))
