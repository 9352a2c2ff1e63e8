"""One file from one address: to a temporary name, on from where an earlier try broke off.

``hub:`` addresses go through ``huggingface_hub`` (``HF_ENDPOINT``, ``HF_HUB_OFFLINE`` and its token
count), the others are plain HTTP with ranges.
"""

import logging
import os
from pathlib import Path

import requests
from tqdm import tqdm

from hsac.files import read_json, write_json

log = logging.getLogger(__name__)

CONNECT, SILENCE = 10, 60
"""Seconds to wait for a connection, and for the next bytes."""
TRIES = 3
"""How often a transfer that breaks off is taken up again before the address counts as failed."""
CHUNK = 1 << 16


class DownloadError(Exception):
    """An address gave no file; the message says why in a few words."""


def address(url: str, path: str) -> str:
    """The full address behind one of a catalogue file's ``urls``."""
    if not url.startswith("hub:"):
        return url
    from huggingface_hub import hf_hub_url

    return hf_hub_url(
        _repository(path), url.removeprefix("hub:"), repo_type="dataset", endpoint=_endpoint()
    )


def download(url: str, path: str, staging: Path) -> Path:
    """Bring a catalogue file (``path`` there) from one of its addresses; returns the whole file,
    below ``staging``.

    What an interrupted try leaves in ``staging`` is taken up by the next one if the server still
    has the same file. Raises DownloadError.
    """
    return (
        _from_hub(url.removeprefix("hub:"), path, staging)
        if url.startswith("hub:")
        else _plain(url, path, staging)
    )


def _endpoint() -> str | None:
    return os.environ.get("HF_ENDPOINT") or None


def _repository(path: str) -> str:
    """A Hugging Face dataset's id: the first two parts of a path in the hub's layout."""
    return "/".join(path.split("/")[:2])


def _from_hub(inside: str, path: str, staging: Path) -> Path:
    from huggingface_hub import get_hf_file_metadata, hf_hub_download
    from huggingface_hub.errors import OfflineModeIsEnabled

    repository = _repository(path)
    try:
        # hf_hub_download asks six times over half a minute where there is no network; this asks
        # once
        get_hf_file_metadata(address(f"hub:{inside}", path), timeout=CONNECT, endpoint=_endpoint())
        return Path(
            hf_hub_download(
                repository,
                inside,
                repo_type="dataset",
                local_dir=staging / repository,
                endpoint=_endpoint(),
            )
        )
    except OfflineModeIsEnabled:
        raise DownloadError("HF_HUB_OFFLINE is set") from None
    except (
        Exception
    ) as error:  # the library hands through the exceptions of whatever carries its requests
        response = getattr(error, "response", None)
        raise DownloadError(
            f"status {response.status_code}" if response is not None else _words(error)
        ) from error


def _words(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def _plain(url: str, path: str, staging: Path) -> Path:
    target = staging / path
    part, note = (target.with_name(target.name + ending) for ending in (".part", ".part.json"))
    part.parent.mkdir(parents=True, exist_ok=True)
    for left in reversed(range(TRIES)):
        try:
            _transfer(url, part, note)
            break
        except (requests.exceptions.ChunkedEncodingError, requests.exceptions.ReadTimeout) as error:
            log.warning(
                "%s: broke off after %d bytes", url, part.stat().st_size if part.exists() else 0
            )
            if not left:
                raise DownloadError(f"broke off {TRIES} times") from error
        except requests.exceptions.Timeout as error:
            raise DownloadError("no answer in time") from error
        except requests.exceptions.ConnectionError as error:
            raise DownloadError("no connection") from error
        except requests.exceptions.RequestException as error:
            raise DownloadError(_words(error)) from error
    note.unlink(missing_ok=True)
    os.replace(part, target)
    return target


def _transfer(url: str, part: Path, note: Path) -> None:
    """Write the file to ``part``, after the bytes already there when the server says that they are
    the same file's.
    """
    known = read_json(note) if part.exists() and note.exists() else {}
    start = part.stat().st_size if known.get("url") == url and known.get("validator") else 0
    headers = {"Accept-Encoding": "identity"}
    if start:
        headers |= {"Range": f"bytes={start}-", "If-Range": known["validator"]}
    with requests.get(url, headers=headers, stream=True, timeout=(CONNECT, SILENCE)) as answer:
        if answer.status_code == requests.codes.requested_range_not_satisfiable:
            part.unlink()
            raise requests.exceptions.ChunkedEncodingError("nothing after the bytes already here")
        if answer.status_code >= 400:
            raise requests.exceptions.HTTPError(f"status {answer.status_code}")
        if not answer.headers.get("Content-Range", "").startswith(f"bytes {start}-"):
            start = 0
        write_json(note, {"url": url, "validator": _validator(answer)})
        length = answer.headers.get("Content-Length")
        total = start + int(length) if length else None
        name = part.name.removesuffix(".part")
        with (
            open(
                part, "ab" if start else "wb", buffering=0
            ) as stream,  # a killed fetch keeps what came
            tqdm(
                desc=name, total=total, initial=start, unit="B", unit_scale=True, disable=None
            ) as bar,
        ):
            try:
                for chunk in answer.iter_content(CHUNK):
                    stream.write(chunk)
                    bar.update(len(chunk))
            except (
                requests.exceptions.ConnectionError
            ) as error:  # what it makes of silence half way
                raise requests.exceptions.ChunkedEncodingError("silence") from error
    if total is not None and part.stat().st_size != total:
        raise requests.exceptions.ChunkedEncodingError("shorter than announced")


def _validator(answer: requests.Response) -> str | None:
    """What tells this version of the file from another: a strong ETag, else the date."""
    etag = answer.headers.get("ETag")
    return etag if etag and not etag.startswith("W/") else answer.headers.get("Last-Modified")
