"""Bring a file here whole: in several tries where connections break, checked against its hash before it gets its name."""
import json
import os
import re
import shutil
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from http.client import HTTPException
from pathlib import Path
from typing import Any, BinaryIO

from mmsscl.atomic_file import atomic_file, sync_folder
from mmsscl.errors import InputError
from mmsscl.zoo.address import path_of
from mmsscl.zoo.cache import disk_faults
from mmsscl.zoo.file_hash import sha256_of
from mmsscl.zoo.transport import InterruptedTransferError, NotThereError, UnreachableError, insist, open_url

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
        InputError: No network, given up (:func:`mmsscl.zoo.transport.insist`), another hash (the file is then removed), no
            room.
    """
    partial = file.with_name(f".{file.name}.download")
    with disk_faults(partial.parent, url):
        started_anew = False
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
            if started_anew or together is None or together.answers == 1:
                raise InputError(
                    f"{url}: is not the file that was published: its sha256 is {found}, expected {sha256}. It has been "
                    "removed. Try again, or another mirror; if it stays so, ask whoever published it."
                )
            say(f"{url}: what came in {together.answers} parts does not fit together; starting anew")
            started_anew = True


def _bring(url: str, partial: Path, hash_known: bool, say: Say, progress: Progress | None) -> None:
    source = path_of(url)
    if source is not None:
        return _copy(source, partial, progress)
    largest = 0

    def ask() -> None:
        try:
            _ask(url, partial, hash_known, progress)
        except UnreachableError as error:
            if not largest:
                raise
            # it was there a moment ago
            raise InterruptedTransferError(str(error).removeprefix(f"{url}: ")) from error

    def advanced() -> bool:
        # than ever before: a server that always begins anew, and is always cut, brings nothing
        nonlocal largest
        before, largest = largest, max(largest, _size(partial))
        return largest > before

    try:
        insist(ask, lambda fault: say(f"{url}: {fault}"), advanced)
    except InterruptedTransferError as error:
        kept = _size(partial)
        if kept and _resumable(partial, url, hash_known) is not None:
            rest = f"The {kept:,} bytes that came are kept: the same command goes on from there."
        else:
            again = ", for nothing would tell that the rest is of the same file" if kept else ""
            rest = f"Try again later; the same command starts anew{again}."
        raise InputError(f"{url}: interrupted, {error}. {rest}") from error


def _resumable(partial: Path, url: str, hash_known: bool) -> _Part | None:
    """What lies here, if more of it can be asked for."""
    part = _read_part(partial)
    return part if part is not None and part.url == url and (part.validator or hash_known) else None


def _ask(url: str, partial: Path, hash_known: bool, progress: Progress | None) -> None:
    """One request, for all or for the rest."""
    part = _resumable(partial, url, hash_known)
    have = _size(partial) if part is not None else 0
    headers = {}
    if part is not None and have:
        if have == part.total:
            return
        headers["Range"] = f"bytes={have}-"
        if part.validator:
            headers["If-Range"] = part.validator
    with open_url(url, headers) as response:
        if response.status == 200:
            have = 0
            said = response.headers
            length = said.get("Content-Length", "")
            part = _Part(url, said.get("ETag"), said.get("Last-Modified"), int(length) if length.isdigit() else None)
            partial.unlink(missing_ok=True)
        elif part is not None and _continues(response, part, have, hash_known):
            part.answers += 1
        else:
            _discard(partial)
            raise InterruptedTransferError("the server has other content than before")
        if part.total is None and not hash_known and not response.chunked:
            raise InputError(
                f"{url}: the server does not say how long the file is, and there is no hash to check it by. Fetch it by "
                "other means, and put it on a mirror."
            )
        with atomic_file(_part_file(partial)) as notes:
            notes.write(json.dumps(asdict(part)).encode())
        if response.status == 416:
            return
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


def _continues(response: Any, part: _Part, have: int, hash_known: bool) -> bool:
    """Whether an answer is the rest of what is here, or says (416) that nothing is missing; notes the whole length."""
    found = re.fullmatch(r"bytes (?:(\d+)-\d+|\*)/(\d+|\*)", response.headers.get("Content-Range", ""))
    if found is None:
        return False
    total = part.total if found[2] == "*" else int(found[2])
    first = total if found[1] is None else int(found[1])
    if first != have or part.total not in (None, total):
        return False
    part.total = total
    tag, modified = response.headers.get("ETag"), response.headers.get("Last-Modified")
    # an answer to If-Range with a tag repeats the tag; one that does not has ignored it
    if tag is None and part.validator is not None and part.validator == part.etag and not hash_known:
        return False
    return (part.etag is None or tag in (None, part.etag)) and (part.modified is None or modified in (None, part.modified))


def _copy(source: Path, partial: Path, progress: Progress | None) -> None:
    try:
        stream: BinaryIO = source.open("rb")
    except OSError as error:
        kind = NotThereError if isinstance(error, (FileNotFoundError, NotADirectoryError)) else InputError
        raise kind(f"{source}: cannot be read ({error.strerror}). Check the path, its permissions, the mirror.") from error
    # what came from a server is no beginning of this
    _discard(partial)
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


def _read_part(partial: Path) -> _Part | None:
    try:
        part = _Part(**json.loads(_part_file(partial).read_text(encoding="utf-8")))
    except (FileNotFoundError, ValueError, TypeError, RecursionError):
        return None
    texts_fit = isinstance(part.url, str) and all(isinstance(text, str | None) for text in (part.etag, part.modified))
    return part if texts_fit and isinstance(part.total, int | None) and isinstance(part.answers, int) else None


def _part_file(partial: Path) -> Path:
    return partial.with_name(f"{partial.name}.json")


def _size(file: Path) -> int:
    return file.stat().st_size if file.exists() else 0


def _discard(partial: Path) -> None:
    for file in (partial, _part_file(partial)):
        with suppress(FileNotFoundError):
            file.unlink()
