"""Bring a file here whole: in several tries where connections break, checked against its hash before it gets its name."""
import errno
import json
import os
import re
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from http.client import HTTPException
from pathlib import Path
from typing import Any, BinaryIO

from mmsscl.atomic_file import atomic_file, sync_folder
from mmsscl.errors import InputError
from mmsscl.zoo.file_hash import sha256_of
from mmsscl.zoo.transport import InterruptedTransferError, NotThereError, open_url, path_of

ATTEMPTS = 5
"""Tries in a row that bring nothing new, after which a download is given up."""
PAUSE = 1.0
"""Seconds before the second try; doubled for each further one."""
BLOCK = 1 << 16

Say = Callable[[str], None]
Progress = Callable[[int, "int | None"], None]


@dataclass
class _Part:
    """What lies in an unfinished file: where from, and how the server would know the same content again."""

    url: str
    etag: str | None
    modified: str | None
    total: int | None
    answers: int = 1

    @property
    def validator(self) -> str | None:
        """For ``If-Range``; a weak tag may not stand there."""
        return self.modified if self.etag is None or self.etag.startswith("W/") else self.etag


def download(url: str, file: Path, sha256: str | None, say: Say, progress: Progress | None = None) -> str:
    """Bring a file here, under its name only when it is whole and has the hash that is expected.

    What came before a connection broke, or the process was killed, stays in a hidden file beside it and is not asked for
    again (``Range``), provided that the server says that the content is the same (``If-Range``) or the hash will tell. The
    caller sees to it that no other process downloads the same file (:func:`mmsscl.zoo.cache.locked`).

    Args:
        url: Of scheme http, https or file.
        file: Where it goes; the folder exists.
        sha256: Expected, in hexadecimal; None: any.
        say: Is told of interruptions.
        progress: Is told the bytes that are here and the total, None where the server does not say it.

    Returns:
        The hash.

    Raises:
        NotThereError: There is no such file.
        InputError: No network, given up after :data:`ATTEMPTS`, another hash (the file is then removed), no room.
    """
    partial = file.with_name(f".{file.name}.download")
    with _disk_faults(partial, url):
        while True:
            _bring(url, partial, sha256 is not None, say, progress)
            found = sha256_of(partial)
            if sha256 in (None, found):
                with partial.open("rb") as stream:
                    os.fsync(stream.fileno())
                os.replace(partial, file)
                sync_folder(file.parent)
                _discard(partial)
                return found
            together = _read_part(partial)
            _discard(partial)
            if together is None or together.answers == 1:
                raise InputError(
                    f"{url}: is not the file that was published: its sha256 is {found}, expected {sha256}. It has been "
                    "removed. Try again, or another mirror; if it stays so, ask whoever published it."
                )
            say(f"{url}: what came in {together.answers} parts does not fit together; starting anew")


def _bring(url: str, partial: Path, hash_known: bool, say: Say, progress: Progress | None) -> None:
    source = path_of(url)
    if source is not None:
        return _copy(source, partial, progress)
    failures = 0
    while True:
        before = _size(partial)
        try:
            return _ask(url, partial, hash_known, progress)
        except InterruptedTransferError as error:
            failures = failures + 1 if _size(partial) <= before else 1
            if failures >= ATTEMPTS:
                raise InputError(
                    f"{url}: interrupted, {error}. The {_size(partial):,} bytes that came are kept: the same command goes "
                    "on from there."
                ) from error
            say(f"{url}: {error}; trying again")
            time.sleep(PAUSE * 2 ** (failures - 1))


def _ask(url: str, partial: Path, hash_known: bool, progress: Progress | None) -> None:
    """One request, for all or for the rest."""
    part = _read_part(partial)
    if part is not None and (part.url != url or not (part.validator or hash_known)):
        part = None
    have = _size(partial) if part is not None else 0
    headers = {}
    if part is not None and have:
        if have == part.total:
            return
        headers["Range"] = f"bytes={have}-"
        if part.validator:
            headers["If-Range"] = part.validator
    with open_url(url, headers) as response:
        if response.status == 206 and part is not None and _continues(response, part, have):
            part.answers += 1
        elif response.status in (206, 416):
            _discard(partial)
            raise InterruptedTransferError("the server has other content than before")
        else:
            have = 0
            said = response.headers
            length = said.get("Content-Length", "")
            part = _Part(url, said.get("ETag"), said.get("Last-Modified"), int(length) if length.isdigit() else None)
            if part.total is None and not hash_known and not response.chunked:
                raise InputError(
                    f"{url}: the server does not say how long the file is, and there is no hash to check it by. Fetch it by "
                    "other means, and put it on a mirror."
                )
            partial.unlink(missing_ok=True)
        with atomic_file(_part_file(partial)) as notes:
            notes.write(json.dumps(asdict(part)).encode())
        _require_room(partial, url, (part.total or 0) - have)
        with partial.open("ab") as stream:
            _receive(response, stream, part.total, progress)
    if part.total is not None and _size(partial) != part.total:
        raise InterruptedTransferError(f"connection lost after {_size(partial):,} of {part.total:,} bytes")


def _receive(response: Any, stream: BinaryIO, total: int | None, progress: Progress | None) -> None:
    while True:
        try:
            block = response.read1(BLOCK)
        except (OSError, HTTPException) as error:
            raise InterruptedTransferError(f"connection lost ({error or type(error).__name__})") from error
        if not block:
            return
        stream.write(block)
        if progress is not None:
            progress(stream.tell(), total)


def _continues(response: Any, part: _Part, have: int) -> bool:
    """Whether a partial answer is the rest of what is here."""
    found = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", response.headers.get("Content-Range", ""))
    if found is None or int(found[1]) != have:
        return False
    same_length = found[2] == "*" or part.total is None or int(found[2]) == part.total
    tag = response.headers.get("ETag")
    return same_length and (tag is None or part.etag is None or tag == part.etag)


def _copy(source: Path, partial: Path, progress: Progress | None) -> None:
    try:
        stream: BinaryIO = source.open("rb")
    except OSError as error:
        raise NotThereError(f"{source}: cannot be read ({error.strerror}). Check the path, and the mirror.") from error
    with stream, partial.open("wb") as copy:
        total = os.fstat(stream.fileno()).st_size
        _require_room(partial, str(source), total)
        while block := stream.read(BLOCK):
            copy.write(block)
            if progress is not None:
                progress(copy.tell(), total)


def _require_room(partial: Path, url: str, wanted: int) -> None:
    free = shutil.disk_usage(partial.parent).free
    if wanted > free:
        raise InputError(
            f"{url}: the disk is too full: {wanted:,} bytes to come, and {partial.parent} has {free:,} left. Make room, or "
            "name a cache on another disk by MMSSCL_CACHE."
        )


@contextmanager
def _disk_faults(partial: Path, url: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            fault = f"the disk is full ({error.strerror}). Make room, or name a cache on another disk by MMSSCL_CACHE"
        else:
            fault = f"{error}. Check the folder's permissions, or name another cache by MMSSCL_CACHE"
        raise InputError(f"{url}: cannot be written to {partial.parent}: {fault}; what came so far is kept.") from error


def _read_part(partial: Path) -> _Part | None:
    try:
        return _Part(**json.loads(_part_file(partial).read_text(encoding="utf-8")))
    except (FileNotFoundError, ValueError, TypeError):
        return None


def _part_file(partial: Path) -> Path:
    return partial.with_name(f"{partial.name}.json")


def _size(file: Path) -> int:
    return file.stat().st_size if file.exists() else 0


def _discard(partial: Path) -> None:
    for file in (partial, _part_file(partial)):
        with suppress(FileNotFoundError):
            file.unlink()
