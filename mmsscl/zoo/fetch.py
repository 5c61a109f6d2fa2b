"""From an entry of the zoo to a backbone file on this machine that has the hash it should have."""
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from mmsscl.errors import InputError
from mmsscl.names import did_you_mean, near_names
from mmsscl.zoo.address import path_of
from mmsscl.zoo.cache import cache_folder, disk_faults, locked, place_in_cache, read_record, read_records, write_record
from mmsscl.zoo.catalogue import own_entries
from mmsscl.zoo.download import Progress, Say, download
from mmsscl.zoo.entry import OWN, SHIPPED, Entry
from mmsscl.zoo.file_hash import sha256_of
from mmsscl.zoo.metafile import MetafileError
from mmsscl.zoo.mirror import mirror_url
from mmsscl.zoo.transport import MIRROR_VARIABLE, NotThereError


@dataclass(frozen=True)
class Check:
    """What rehashing a file found.

    Attributes:
        name: Of the model.
        file: The file.
        expected: Its hash as published or pinned.
        found: As it is now; None: there is no file.
        own: Whether it was published here, not downloaded.
    """

    name: str
    file: Path
    expected: str
    found: str | None
    own: bool = False

    @property
    def ok(self) -> bool:
        """Whether they agree."""
        return self.found == self.expected

    @property
    def deleted(self) -> bool:
        """Whether it was downloaded and is gone: no fault, it comes again when it is asked for."""
        return self.found is None and not self.own

    @property
    def remedy(self) -> str:
        """What brings a sound file."""
        if self.own:
            return f"publish it again: `mmsscl zoo add FILE --name {self.name} --replace`"
        return f"`mmsscl zoo download {self.name}` brings it"


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
        if entry.made_by is None:
            raise InputError(f"{entry.name}: no weights are published, and {entry.place} does not tell how to make them.")
        raise InputError(
            f"{entry.name}: no weights are published. To make them: {entry.made_by}. Then export them, and publish: "
            "mmsscl zoo add FILE --name NAME"
        )
    if entry.kind == OWN:
        return _own_file(entry)
    folder = place_in_cache(entry.name)
    file = place_in_cache(entry.name, entry.file_name)
    with locked(folder, say), disk_faults(folder, entry.name):
        record = read_record(entry.name) or {}
        recorded = record.get("sha256")
        if record.get("pinned") and entry.sha256 not in (None, recorded):
            raise InputError(
                f"{entry.name}: {entry.place} says sha256 {entry.sha256}, but the file accepted here has {recorded}. "
                f"If you trust the metafile, drop what was accepted: rm -r {folder}"
            )
        wanted = entry.sha256 or recorded
        if wanted is None and not allow_unverified:
            raise InputError(
                f"{entry.name}: nobody here knows the hash of {entry.url}, so what comes cannot be checked. If you trust "
                "the address: --allow-unverified; the hash is then printed, and no other file taken afterwards."
            )
        have = sha256_of(file) if file.is_file() else None
        if wanted is None or have != wanted:
            if wanted is not None and have is not None:
                changed = "as it was downloaded" if have != recorded else "what is published now"
                say(f"{file}: is not {changed}; downloading it again")
            if entry.layout is not None:
                _require_layout(entry)
            url, found = _from_anywhere(entry, file, wanted, say, progress)
            record = {"file": file.name, "sha256": found, "url": url}
        if entry.layout is not None:
            record["backbone"] = _converted(entry, file, record.get("backbone"), say, known=wanted is not None)
        elif wanted is None:
            _require_loadable(file)
        if entry.sha256 is None:
            record["pinned"] = True
            if wanted is None:
                say(f"{entry.name}: sha256 {record['sha256']}, computed here and pinned: no other file is taken from now on")
        record.setdefault("file", file.name)
        record.setdefault("sha256", wanted)
        write_record(entry.name, record)
    return folder / record["backbone"]["file"] if entry.layout is not None else file


def check_files(names: list[str]) -> list[Check]:
    """Hash again what was downloaded and what the user's zoo holds.

    Args:
        names: Of models; none: all.

    Raises:
        InputError: A model that was neither downloaded nor published here; a record or the user's zoo is malformed.
    """
    own = {entry.name: entry for entry in own_entries()}
    expected: dict[str, list[tuple[Path, str]]] = {}
    for name, record in read_records().items():
        parts = [record, *([record["backbone"]] if "backbone" in record else [])]
        expected[name] = [(place_in_cache(name, part["file"]), part["sha256"]) for part in parts]
    for entry in own.values():
        path = path_of(entry.url) if entry.weights else None
        if path is not None and entry.sha256 is not None:
            expected[entry.name] = [(path, entry.sha256)]
    for name in names:
        if name not in expected:
            have = f"In the cache: {', '.join(sorted(expected)) or 'nothing'}."
            raise InputError(f"{name}: is not in the cache {cache_folder()}. {have} `mmsscl zoo download {name}` brings it.")
    return [
        Check(name, file, sha256, sha256_of(file) if file.is_file() else None, name in own)
        for name in names or sorted(expected)
        for file, sha256 in expected[name]
    ]


def _own_file(entry: Entry) -> Path:
    file = path_of(entry.url)
    if file is None or not file.is_file():
        raise InputError(f"{entry.name}: {entry.url} is gone, which {entry.place} names. Publish it again: mmsscl zoo add")
    found = sha256_of(file)
    if entry.sha256 is None:
        raise InputError(f"{entry.name}: {entry.place} has no hash of {file}. Write it there, SHA256: {found}")
    if found != entry.sha256:
        raise InputError(
            f"{entry.name}: {file} is not the file that was published: its sha256 is {found}, expected {entry.sha256}. "
            f"Publish it again: mmsscl zoo add FILE --name {entry.name} --replace"
        )
    return file


def _from_anywhere(entry: Entry, file: Path, wanted: str | None, say: Say, progress: Progress | None) -> tuple[str, str]:
    """From the mirror, and from where the entry says if the mirror has no such file: address and hash."""
    mirror = mirror_url() if entry.kind == SHIPPED else None
    if mirror is not None:
        url = f"{mirror}/{quote(entry.file_name)}"
        try:
            return url, download(url, file, wanted, say, progress)
        except NotThereError:
            say(f"{MIRROR_VARIABLE}={mirror}: has no {entry.file_name}; asking {entry.url}")
    return entry.url, download(entry.url, file, wanted, say, progress)


def _converted(entry: Entry, file: Path, before: dict[str, Any] | None, say: Say, known: bool) -> dict[str, Any]:
    """The record of the backbone file that is made of a download, now or earlier."""
    # never the name of the download itself
    backbone = place_in_cache(entry.name, f"{file.stem}.backbone.pth")
    if before is not None and backbone.is_file() and sha256_of(backbone) == before["sha256"]:
        return before
    say(f"{entry.name}: converting {file.name} ({entry.layout})")
    try:
        report = _converter()(file, backbone, to="mmdet", layout=entry.layout)
    except InputError:
        if not known:
            # it was never pinned: the next try must ask for it again
            file.unlink()
        raise
    return {
        "file": backbone.name, "sha256": report.sha256, "mean": list(report.mean), "std": list(report.std),
        "channel order": report.channel_order,
    }  # fmt: skip


def _converter() -> Callable[..., Any]:
    """torch is imported only where a file is converted."""
    from mmsscl.zoo.convert import convert_backbone

    return convert_backbone


def _require_layout(entry: Entry) -> None:
    from mmsscl.zoo.layouts import LAYOUTS

    known = [layout.name for layout in LAYOUTS]
    if entry.layout not in known:
        hint = did_you_mean(near_names(str(entry.layout), known), f"There are: {', '.join(known)}.")
        raise MetafileError(entry.place, f"{entry.name}: Converted From", f"{entry.layout!r} is no layout. {hint}")


def _require_loadable(file: Path) -> None:
    from mmsscl.zoo.safe_load import load_checkpoint

    try:
        load_checkpoint(file)
    except InputError:
        file.unlink()
        raise
