"""Download one part of a URL into a file: request it, resume it, try again, and explain failures."""

import re
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple, NoReturn
from urllib.parse import urlsplit

import requests
import urllib3
from tqdm import tqdm

from jaxstyle.app.system.screen import is_terminal, tell

_TIMEOUT = (10.0, 30.0)  # seconds to connect, and seconds without a byte
_PAUSES = (1.0, 2.0, 4.0, 8.0)  # seconds before each retry that follows a try without progress
_MAX_TRIES = 100
_MAX_BYTES = 2**30
_CHUNK = 2**14


class DownloadError(Exception):
    """The download came to nothing; the message gives the reason without the host."""


class NoRangesError(DownloadError):
    """The host sends whole files only."""


class _PassingError(Exception):
    """A fault that may be gone at the next try."""


class Part(NamedTuple):
    """What to bring into a file: a whole URL, or a range of its bytes.

    Attributes:
      url: the address.
      path: the file. A download goes on where this file ends.
      start: the first byte of the range.
      end: the byte after the range; None for the whole URL.
    """

    url: str
    path: Path
    start: int = 0
    end: int | None = None


def open_session() -> requests.Session:
    """Open a session for public hosts, to which the passwords of the user's .netrc are not sent."""
    session = requests.Session()
    session.auth = _add_no_password
    session.headers["Accept-Encoding"] = "identity"  # ranges count the bytes of the file, not of a compressed answer
    return session


def _add_no_password(request: Any) -> Any:
    return request


def download_part(session: requests.Session, part: Part, size: int | None) -> str | None:
    """Download a part into its file, from where that file ends.

    Args:
      session: as `open_session` returns it.
      part: what to download.
      size: the published size of the whole file in bytes; None if none is published.

    Returns:
      The sha256 that the host names; None if it names none. Hugging Face's hub names the sha256 of a large file in a
      header, X-Linked-ETag.

    Raises:
      DownloadError: after an answer that no retry changes, or after several tries without progress.
      OSError: if the file can't be written.
    """
    failures, tag, reason = 0, "", ""
    for _ in range(_MAX_TRIES):
        before = _size_of(part.path)
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
            if reason == _UNREACHABLE:  # most often the machine is offline, and the user should soon know
                patience = 1
        except _PassingError as error:
            reason, patience = str(error), len(_PAUSES)
        failures = 1 if _size_of(part.path) > before else failures + 1
        if failures > patience:
            break
        tell(f"{urlsplit(part.url).netloc}: {reason}; trying again")
        time.sleep(_PAUSES[failures - 1])
    raise DownloadError(reason)


def _size_of(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _request(session: requests.Session, part: Part, have: int, tag: str) -> requests.Response:
    headers = {}
    if have or part.end is not None:
        headers["Range"] = f"bytes={part.start + have}-{part.end - 1 if part.end is not None else ''}"
        if tag and not tag.startswith("W/"):
            headers["If-Range"] = tag
    if part.end is not None and have >= part.end - part.start:
        headers["Range"] = f"bytes={part.start}-{part.start}"  # all bytes are there: only ask which file it is
    response = session.get(part.url, headers=headers, stream=True, timeout=_TIMEOUT)
    schemes = [urlsplit(r.url).scheme for r in [*response.history, response]]
    if schemes[0] == "https" and "http" in schemes:
        response.close()
        raise DownloadError("it sends on to an address without encryption")
    return response


def _receive(response: requests.Response, part: Part, have: int, size: int | None) -> None:
    """Write an answer to the part's file.

    Raises:
      DownloadError: if the answer is not the file, or is too large.
      _PassingError: if the answer ends too early.
    """
    whole = part.end is None
    status = response.status_code
    if not whole and have >= (part.end or 0) - part.start:
        return
    if status == 416 and whole and have:  # all bytes are there already, or more: the hash tells
        return
    start, total = 0, response.headers.get("Content-Length", "")
    if status == 206:
        match = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", response.headers.get("Content-Range", ""))
        if match is None or int(match[1]) != part.start + have:
            raise DownloadError("it sends other bytes than those asked for")
        start, total = have, match[2]
    elif status != 200:
        raise (_PassingError if status in (408, 425, 429) or status >= 500 else DownloadError)(
            f"it answers {status} {response.reason}"
        )
    elif not whole:
        raise NoRangesError("it sends the whole file where a part was asked for")
    last = part.end - part.start if part.end is not None else int(total) if total.isdecimal() else None
    if not whole and last is not None and total.isdecimal():
        last = min(last, int(total) - part.start)
    limit = size or (last if not whole and last is not None else _MAX_BYTES)
    if (last or 0) > limit:
        raise DownloadError(f"its file has {last} bytes, not the {limit} published")
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
                raise DownloadError(f"it sends more than the {limit} bytes published")
            file.write(chunk)
            bar.update(len(chunk))
    if last is not None and have < last:
        raise _PassingError(f"it stopped after {have} of {last} bytes")


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
    """Say why a request failed, without the library's words, which hold the proxy's address and password."""
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
        raise DownloadError("it sends on without an end") from error
    if isinstance(error, requests.exceptions.InvalidProxyURL):
        raise DownloadError("the proxy's address is not one (HTTPS_PROXY, HTTP_PROXY)") from error
    raise DownloadError("its address is not one") from error
