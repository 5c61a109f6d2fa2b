"""From an entry of the zoo to a backbone file on this machine that has the hash it should have."""
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmsscl.errors import InputError
from mmsscl.zoo.cache import cache_folder, locked, place_in_cache, read_records, write_record
from mmsscl.zoo.download import Progress, Say, download
from mmsscl.zoo.entry import OWN, SHIPPED, Entry
from mmsscl.zoo.file_hash import sha256_of
from mmsscl.zoo.mirror import mirror_url
from mmsscl.zoo.transport import MIRROR_VARIABLE, NotThereError, path_of


@dataclass(frozen=True)
class Check:
    """What rehashing a file found.

    Attributes:
        name: Of the model.
        file: The file.
        expected: Its hash as published or pinned.
        found: As it is now; None: there is no file.
    """

    name: str
    file: Path
    expected: str
    found: str | None

    @property
    def ok(self) -> bool:
        """Whether they agree."""
        return self.found == self.expected


def fetch(entry: Entry, say: Say, allow_unverified: bool = False, progress: Progress | None = None) -> Path:
    """The backbone file of a model: from the cache, or downloaded; its hash is checked either way.

    Nothing of a file is read before its hash is. A file whose hash nobody knows needs ``allow_unverified`` the first time;
    it must then pass the safe loader and be converted, and its hash is pinned: from then on no other is taken.

    Args:
        entry: The model.
        say: Is told what happens.
        allow_unverified: Take a file whose hash nobody knows.
        progress: See :func:`mmsscl.zoo.download.download`.

    Returns:
        A file for ``init_cfg=dict(type="Pretrained", ...)``.

    Raises:
        InputError: There are no weights, their hash is not known or another, they cannot be had or converted.
    """
    if entry.weights is None:
        made = f"they are built by: {entry.built_by}" if entry.built_by else f"it is a recipe: mmsscl train {entry.config}"
        raise InputError(
            f"{entry.name}: no weights are published; {made}. Then export them, and publish: mmsscl zoo add FILE --name NAME"
        )
    if entry.kind == OWN:
        return _own_file(entry)
    folder = place_in_cache(entry.name)
    file = place_in_cache(entry.name, entry.file_name)
    with locked(folder, say):
        record = read_records().get(entry.name, {})
        pinned = record.get("sha256") if record.get("pinned") else None
        wanted = entry.sha256 or pinned
        if wanted is None and not allow_unverified:
            raise InputError(
                f"{entry.name}: nobody here knows the hash of {entry.url}, so what comes cannot be checked. If you trust "
                "the address: --allow-unverified; the hash is then printed, and no other file taken afterwards."
            )
        if wanted is None or not file.is_file() or sha256_of(file) != wanted:
            if wanted is not None and file.is_file():
                say(f"{file}: is not as it was downloaded; downloading it again")
            file.unlink(missing_ok=True)
            url, found = _from_anywhere(entry, file, wanted, say, progress)
            record = {"file": file.name, "sha256": found, "url": url}
        if entry.layout is not None:
            record["backbone"] = _converted(entry, file, record.get("backbone"), say, known=wanted is not None)
        elif wanted is None:
            _require_loadable(file)
        if entry.sha256 is None:
            record["pinned"] = True
            if pinned is None:
                say(f"{entry.name}: sha256 {record['sha256']}, computed here and pinned: no other file is taken from now on")
        record.setdefault("file", file.name)
        record.setdefault("sha256", wanted)
        write_record(entry.name, record)
    return folder / record["backbone"]["file"] if entry.layout is not None else file


def check_files(names: list[str], entries: dict[str, Entry]) -> list[Check]:
    """Hash again what was downloaded and what the user's zoo holds.

    Args:
        names: Of models; none: all.
        entries: From :func:`mmsscl.zoo.catalogue.all_entries`; only those of the user's zoo are looked at.

    Raises:
        InputError: A model that was neither downloaded nor published here.
    """
    records = read_records()
    expected: dict[str, list[tuple[Path, str]]] = {}
    for name, record in records.items():
        folder = place_in_cache(name)
        parts = [record, *([record["backbone"]] if "backbone" in record else [])]
        expected[name] = [(folder / Path(part["file"]).name, part["sha256"]) for part in parts]
    for entry in entries.values():
        path = path_of(entry.url) if entry.kind == OWN and entry.weights else None
        if path is not None and entry.sha256 is not None:
            expected[entry.name] = [(path, entry.sha256)]
    for name in names:
        if name not in expected:
            have = f"In the cache: {', '.join(sorted(expected)) or 'nothing'}."
            raise InputError(f"{name}: is not in the cache {cache_folder()}. {have} `mmsscl zoo download {name}` brings it.")
    return [
        Check(name, file, sha256, sha256_of(file) if file.is_file() else None)
        for name in names or sorted(expected)
        for file, sha256 in expected[name]
    ]


def _own_file(entry: Entry) -> Path:
    file = path_of(entry.url)
    if file is None or not file.is_file():
        raise InputError(f"{entry.name}: {entry.url} is gone, which {entry.place} names. Publish it again: mmsscl zoo add")
    found = sha256_of(file)
    if found != entry.sha256:
        raise InputError(
            f"{entry.name}: {file} is not the file that was published: its sha256 is {found}, expected {entry.sha256}. "
            "Publish it again: mmsscl zoo add FILE --name NAME --replace"
        )
    return file


def _from_anywhere(entry: Entry, file: Path, wanted: str | None, say: Say, progress: Progress | None) -> tuple[str, str]:
    """From the mirror, and from where the entry says if the mirror has no such file: address and hash."""
    mirror = mirror_url() if entry.kind == SHIPPED else None
    if mirror is not None:
        url = f"{mirror}/{entry.url.rsplit('/', 1)[-1]}"
        try:
            return url, download(url, file, wanted, say, progress)
        except NotThereError:
            say(f"{MIRROR_VARIABLE}={mirror}: has no {entry.file_name}; asking {entry.url}")
    return entry.url, download(entry.url, file, wanted, say, progress)


def _converted(entry: Entry, file: Path, before: dict[str, Any] | None, say: Say, known: bool) -> dict[str, Any]:
    """The record of the backbone file that is made of a download, now or earlier."""
    backbone = place_in_cache(entry.name, f"{entry.name}.backbone.pth")
    if before is not None and backbone.is_file() and sha256_of(backbone) == before["sha256"]:
        return before
    say(f"{entry.name}: converting {file.name} ({entry.layout})")
    try:
        _converter()(file, backbone, to="mmdet")
    except InputError:
        if not known:
            # it was never pinned: the next try must ask for it again
            file.unlink()
        raise
    return {"file": backbone.name, "sha256": sha256_of(backbone)}


def _converter() -> Callable[..., Any]:
    """torch is imported only where a file is converted."""
    from mmsscl.zoo.convert import convert_backbone

    return convert_backbone


def _require_loadable(file: Path) -> None:
    from mmsscl.zoo.safe_load import load_checkpoint

    try:
        load_checkpoint(file)
    except InputError:
        file.unlink()
        raise
