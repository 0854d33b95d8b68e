"""Files of Ultralytics' releases, such as official YOLO26 weights: on disk, or fetched when a person asks for it.

The release's metadata names size and sha256 of every file; both are checked before a file takes its place. Where the
metadata gives no digest, none is invented: the digest of the first download is written down beside the file and every
later use is held to it.
"""

from __future__ import annotations

import hashlib
import http.client
import json
import os
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from halo_vis.weights import WeightsError, file_hash

RELEASE = "https://api.github.com/repos/ultralytics/assets/releases/tags/v8.4.0"
NAMES = tuple(f"yolo26{scale}{task}.pt" for scale in "nsmlx" for task in ("", "-seg"))
LARGEST = 512 * 1024 * 1024  # bytes; the largest official file has 0.14 GB
LARGEST_METADATA = 8 * 1024 * 1024
CONNECT_SECONDS = 10.0


class FetchError(RuntimeError):
    """Official weights could not be had; the message says why and what to do."""


@dataclass(frozen=True)
class Origin:
    """Where a file comes from: "release" (digest published), "pinned" (digest of the first download), "disk"."""

    kind: str
    sha256: str
    url: str = ""

    def __str__(self) -> str:
        """As a card says it."""
        return {
            "release": f"{self.url}, sha256 as published",
            "pinned": f"{self.url}, no digest published: pinned at first use",
            "disk": "found on this machine, not checked against a release",
        }[self.kind]


def data_folder() -> Path:
    """Where HaloVis keeps what it writes: HALO_VIS_DATA, else ~/.cache/halo_vis."""
    return Path(os.environ.get("HALO_VIS_DATA") or Path.home() / ".cache" / "halo_vis").expanduser()


def official_weights(
    name: str,
    *,
    fetch: bool = False,
    folder: Path | None = None,
    release: str | None = None,
    limit_s: float = 300.0,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[Path, str]:
    """The file of an official model.

    Args:
        name: "yolo26n.pt", ...
        fetch: allow a download; without it a file that is not there is an error at once, and no host is asked.
        folder: where it is kept; None: ``weights`` in the data folder, then Ultralytics' own weights folder, then here.
        release: URL of the release's metadata; None: HALO_VIS_RELEASE, else Ultralytics' release.
        limit_s: seconds for the whole download.
        progress: called with (bytes so far, bytes in all).

    Returns:
        The path, and a sentence on where the file comes from.

    Raises:
        FetchError: not allowed, offline, too slow, wrong size or digest. Nothing partial is left in place.
    """
    if name not in NAMES:
        raise FetchError(f"no official weights named {name!r}; there are {', '.join(NAMES)}.")
    kept = (folder or data_folder() / "weights") / name
    if kept.is_file():
        return kept, _check_kept(kept)
    if folder is None:
        for place in _elsewhere(name):
            if place.is_file():
                return place, str(Origin("disk", ""))
    if not fetch:
        raise FetchError(
            f"{name} is not on this machine (looked for {kept}). Ask for the download (fetch=True, --fetch, or "
            "the box under More on the page), or put the file there."
        )
    release = release or os.environ.get("HALO_VIS_RELEASE") or RELEASE
    return kept, release_file(name, kept, release, limit_s=limit_s, progress=progress)


def release_file(
    name: str, kept: Path, release: str, *, limit_s: float = 300.0, progress: Callable[[int, int], None] | None = None
) -> str:
    """Have the file `name` of a release at `kept`: the one that is there, checked again, or fetched.

    Returns a sentence on where it comes from. Args and errors are those of `official_weights`; `release` is the URL of
    the release's metadata.
    """
    if kept.is_file():
        return _check_kept(kept)
    deadline = time.monotonic() + limit_s
    entry = _release_entry(name, release, deadline)
    return str(_download(entry, kept, deadline, progress))


def _elsewhere(name: str) -> list[Path]:
    from ultralytics.utils import SETTINGS

    return [Path(SETTINGS["weights_dir"]) / name, Path(name)]


def _record(path: Path) -> Path:
    return path.with_suffix(path.suffix + ".json")


def _check_kept(path: Path) -> str:
    """A file of ours must still be what was downloaded; one that a person put there has no record."""
    if not _record(path).is_file():
        return str(Origin("disk", ""))
    try:
        origin = Origin(**json.loads(_record(path).read_text(encoding="utf-8")))
        said = str(origin)
    except (ValueError, TypeError, KeyError) as error:
        raise FetchError(
            f"{_record(path).name} is damaged ({error}). Delete it and {path.name}, and fetch again."
        ) from error
    found = file_hash(path)
    if found != origin.sha256:
        raise WeightsError(f"{path} has sha256 {found}, expected {origin.sha256}. Delete it and fetch it again.")
    return said


def _open(url: str, deadline: float) -> http.client.HTTPResponse:
    left = deadline - time.monotonic()
    if left <= 0:
        raise FetchError(f"time is up before {url} was asked.")
    try:
        request = urllib.request.Request(url, headers={"User-Agent": "halo_vis", "Accept": "*/*"})
        if request.type not in ("http", "https"):
            raise ValueError(f"{request.type} is not http or https")
        return urllib.request.urlopen(request, timeout=min(CONNECT_SECONDS, left))
    except urllib.error.HTTPError as error:
        raise FetchError(f"{url} answered {error.code}. Try later, or put the file in place by hand.") from error
    except (OSError, ValueError, http.client.HTTPException) as error:
        raise FetchError(
            f"{url} cannot be reached ({getattr(error, 'reason', error)}). Without a network, put the file in place by "
            "hand."
        ) from error


def _release_entry(name: str, release: str, deadline: float) -> dict:
    """What the release says of one file: url, size, digest."""
    body = b""
    try:
        with _open(release, deadline) as answer:
            while len(body) < LARGEST_METADATA and (chunk := answer.read1(1 << 16)):
                body += chunk
                if time.monotonic() > deadline:
                    raise FetchError(f"{release}: time is up while its metadata was read. Try again on a faster line.")
    except (OSError, http.client.HTTPException) as error:
        raise FetchError(f"{release}: its metadata could not be read ({error}). Try again.") from error
    try:
        for asset in json.loads(body)["assets"]:
            if asset["name"] == name:
                digest = str(asset.get("digest") or "").lower()
                algorithm, _, value = digest.partition(":")
                if digest and (algorithm != "sha256" or len(value) != 64):
                    raise ValueError(f"digest {digest!r}")
                return {"url": str(asset["browser_download_url"]), "size": int(asset["size"]), "sha256": value}
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise FetchError(f"the release's metadata at {release} cannot be understood ({error}).") from error
    raise FetchError(f"the release at {release} has no file {name}.")


def _download(entry: dict, kept: Path, deadline: float, progress: Callable[[int, int], None] | None) -> Origin:
    """Stream into a temporary file; move it into place only when size and digest are right."""
    url, size = entry["url"], entry["size"]
    if not 0 < size <= LARGEST:
        raise FetchError(f"the release gives {size} bytes for {kept.name}; expected 1 to {LARGEST}.")
    kept.parent.mkdir(parents=True, exist_ok=True)
    handle, partial = tempfile.mkstemp(prefix=f".{kept.name}.", dir=kept.parent)
    digest, received = hashlib.sha256(), 0
    try:
        with os.fdopen(handle, "wb") as out, _open(url, deadline) as answer:
            # read1: what has arrived, so that a trickle cannot hold the time limit off.
            while chunk := answer.read1(1 << 16):
                received += len(chunk)
                if received > size:
                    raise FetchError(f"{url} sends more than the {size} bytes that the release gives.")
                if time.monotonic() > deadline:
                    raise FetchError(f"{url}: time is up after {received} of {size} bytes. Try again on a faster line.")
                digest.update(chunk)
                out.write(chunk)
                if progress:
                    progress(received, size)
        if received != size:
            raise FetchError(f"{url} ended after {received} of {size} bytes. Try again.")
        if entry["sha256"] and digest.hexdigest() != entry["sha256"]:
            raise FetchError(f"{url}: sha256 {digest.hexdigest()} is not the published {entry['sha256']}. Not kept.")
        origin = Origin("release" if entry["sha256"] else "pinned", digest.hexdigest(), url)
        _record(kept).write_text(json.dumps(origin.__dict__) + "\n", encoding="utf-8")
        Path(partial).replace(kept)
        return origin
    except (OSError, http.client.HTTPException) as error:
        raise FetchError(f"{url}: the download broke off ({error}). Try again.") from error
    finally:
        Path(partial).unlink(missing_ok=True)
