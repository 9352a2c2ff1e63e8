"""Download one file from one address.

A file arrives under a temporary name, and a later try goes on where an earlier one broke off.
``hub:`` addresses go through ``huggingface_hub``, so ``HF_ENDPOINT``, ``HF_HUB_OFFLINE`` and its
token count. The others are plain HTTP with ranges.
"""

import io
import logging
import os
from pathlib import Path

import requests
from requests.exceptions import ChunkedEncodingError
from tqdm import tqdm

from hsac.errors import InputError
from hsac.files import FULL, read_json, write_json

log = logging.getLogger(__name__)

CONNECT = 10  # seconds to wait for a connection
SILENCE = 60  # seconds to wait for the next bytes
TRIES = 3  # transfers that break off before the address counts as failed
CHUNK = 1 << 16  # bytes


class DownloadError(Exception):
    """An address that gave no file. The message says why in a few words."""


def address(url: str, path: str) -> str:
    """Return the full address behind one of a catalogue file's ``urls``.

    Args:
        url: The address as the catalogue states it.
        path: The file's path in the catalogue, which names the hub's repository.

    Returns:
        An https address, below ``HF_ENDPOINT`` for the hub where that is set.
    """
    if not url.startswith("hub:"):
        return url
    from huggingface_hub import hf_hub_url

    inside = url.removeprefix("hub:")
    return hf_hub_url(_repository(path), inside, repo_type="dataset", endpoint=_endpoint())


def download(url: str, path: str, staging: Path) -> Path:
    """Download a catalogue file from one of its addresses.

    Args:
        url: The address as the catalogue states it.
        path: The file's path in the catalogue.
        staging: The folder to download into. What an interrupted try leaves there is taken up by
            the next one if the server still has the same file.

    Returns:
        The complete file, below ``staging``.

    Raises:
        DownloadError: When the address gives no complete file.
    """
    if url.startswith("hub:"):
        return _from_hub(url.removeprefix("hub:"), path, staging)
    return _from_web(url, path, staging)


def _endpoint() -> str | None:
    return os.environ.get("HF_ENDPOINT") or None


def _repository(path: str) -> str:
    """Return a Hugging Face dataset's id: the first two parts of a path in the hub's layout."""
    return "/".join(path.split("/")[:2])


def _from_hub(inside: str, path: str, staging: Path) -> Path:
    from huggingface_hub import get_hf_file_metadata, hf_hub_download
    from huggingface_hub.errors import OfflineModeIsEnabled

    repository, endpoint = _repository(path), _endpoint()
    folder = staging / repository
    try:
        # Without a network hf_hub_download asks six times over half a minute. This asks once.
        get_hf_file_metadata(address(f"hub:{inside}", path), timeout=CONNECT, endpoint=endpoint)
        came = hf_hub_download(
            repository, inside, repo_type="dataset", local_dir=folder, endpoint=endpoint
        )
        return Path(came)
    except OfflineModeIsEnabled:
        raise DownloadError("HF_HUB_OFFLINE is set") from None
    # The library passes on the exceptions of whatever carries its requests.
    except Exception as error:
        if isinstance(error, OSError) and error.errno in FULL:
            raise InputError(f"cannot write {folder}: {error.strerror}") from error
        response = getattr(error, "response", None)
        reason = _first_line(error) if response is None else f"status {response.status_code}"
        raise DownloadError(reason) from error


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def _from_web(url: str, path: str, staging: Path) -> Path:
    target = staging / path
    part, note = (target.with_name(target.name + ending) for ending in (".part", ".part.json"))
    part.parent.mkdir(parents=True, exist_ok=True)
    for left in reversed(range(TRIES)):
        try:
            _transfer(url, part, note)
            break
        except (ChunkedEncodingError, requests.exceptions.ReadTimeout) as error:
            log.warning("%s: broke off after %d bytes", url, _size(part))
            if not left:
                raise DownloadError(f"broke off {TRIES} times") from error
        except requests.exceptions.Timeout as error:
            raise DownloadError("no answer in time") from error
        except requests.exceptions.ConnectionError as error:
            raise DownloadError("no connection") from error
        except requests.exceptions.RequestException as error:
            raise DownloadError(_first_line(error)) from error
    note.unlink(missing_ok=True)
    os.replace(part, target)
    return target


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _transfer(url: str, part: Path, note: Path) -> None:
    """Write the file to ``part``, after its bytes there if the server says they are its own."""
    known = read_json(note) if part.exists() and note.exists() else {}
    start = _size(part) if known.get("url") == url and known.get("validator") else 0
    # Ranges and lengths of a compressed answer would not be those of the file.
    headers = {"Accept-Encoding": "identity"}
    if start:
        # If-Range makes a server that has another version by now send all of it.
        headers |= {"Range": f"bytes={start}-", "If-Range": known["validator"]}
    with requests.get(url, headers=headers, stream=True, timeout=(CONNECT, SILENCE)) as answer:
        if answer.status_code == requests.codes.requested_range_not_satisfiable:
            # As long as the file or longer, yet never accepted: begin again.
            part.unlink()
            raise ChunkedEncodingError("nothing after the bytes already here")
        if answer.status_code >= 400:
            raise requests.exceptions.HTTPError(f"status {answer.status_code}")
        # A server that ignores the range, or has another version by now, sends all from the start.
        if not answer.headers.get("Content-Range", "").startswith(f"bytes {start}-"):
            start = 0
        write_json(note, {"url": url, "validator": _validator(answer)})
        length = answer.headers.get("Content-Length")
        total = start + int(length) if length else None
        _receive(answer, part, start, total)
    # Not every version of requests notices a connection that closes early.
    if total is not None and _size(part) != total:
        raise ChunkedEncodingError("shorter than announced")


def _receive(answer: requests.Response, part: Path, start: int, total: int | None) -> None:
    name = part.name.removesuffix(".part")
    bar = tqdm(desc=name, total=total, initial=start, unit="B", unit_scale=True, disable=None)
    # Unbuffered, so that a killed fetch keeps what came.
    with bar, open(part, "ab" if start else "wb", buffering=0) as stream:
        try:
            for chunk in answer.iter_content(CHUNK):
                _append(stream, chunk, part)
                bar.update(len(chunk))
        # This is what requests makes of silence half way.
        except requests.exceptions.ConnectionError as error:
            raise ChunkedEncodingError("silence") from error


def _append(stream: io.RawIOBase, chunk: bytes, part: Path) -> None:
    """Write all of a chunk: a full disk may take a part of it without an error."""
    left = memoryview(chunk)
    try:
        while left:
            left = left[stream.write(left) :]
    except OSError as error:
        kept = "what came is kept, and the same command goes on"
        raise InputError(f"cannot write {part}: {error.strerror}; {kept}") from error


def _validator(answer: requests.Response) -> str | None:
    """Return what tells this version of the file from another: a strong ETag, else the date."""
    etag = answer.headers.get("ETag")
    # A weak ETag may be the same for versions that differ in bytes.
    return etag if etag and not etag.startswith("W/") else answer.headers.get("Last-Modified")
