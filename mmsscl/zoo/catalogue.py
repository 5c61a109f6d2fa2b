"""All models that can be named: those of the package, of the user's zoo, and of the mirror."""
from collections.abc import Callable
from pathlib import Path
from urllib.parse import quote

from mmsscl.errors import InputError
from mmsscl.names import did_you_mean, near_names
from mmsscl.zoo.address import shown
from mmsscl.zoo.cache import own_zoo
from mmsscl.zoo.entry import MIRROR, OWN, SHIPPED, Entry, escapes
from mmsscl.zoo.metafile import MetafileError, parse_metafile, parse_yaml
from mmsscl.zoo.mirror import IndexCopy, mirror_url
from mmsscl.zoo.transport import MIRROR_VARIABLE, NotThereError, UnreachableError, read_text

INDEX_NAME = "model-index.yml"


def shipped_folder() -> Path:
    """The folder of the package's ``model-index.yml`` and ``configs/``: ``mmsscl/.mim``, or the checkout's root."""
    package = Path(__file__).resolve().parents[1]
    candidates = (package / ".mim", package.parent)
    return next((folder for folder in candidates if (folder / INDEX_NAME).is_file()), candidates[0])


def read_index(base: str, kind: str, read: Callable[[str], str] = read_text) -> list[Entry]:
    """The models of a zoo: of its ``model-index.yml`` and the metafiles that it imports.

    Args:
        base: URL of the folder of ``model-index.yml``.
        kind: Of the entries.
        read: Gives the text at a URL.

    Raises:
        NotThereError: There is no index.
        InputError: A file is malformed or missing, a path leads out of the folder, a name is there twice.
    """
    place = f"{base}/{INDEX_NAME}"
    index = read(place)
    content = parse_yaml(index, shown(place))
    imports = content.get("Import") or []
    if not isinstance(imports, list) or not all(isinstance(path, str) for path in imports):
        raise MetafileError(shown(place), "Import", "is no list of paths.")
    entries: dict[str, Entry] = {}
    for path in ["", *imports]:
        if path and escapes(path):
            raise MetafileError(shown(place), "Import", f"{path!r} leads out of the folder. Give a path inside it.")
        file = f"{base}/{quote(path)}" if path else place
        try:
            text = read(file) if path else index
        except NotThereError as error:
            raise MetafileError(shown(place), "Import", f"{path}: {error} Put it there, or take it off the list.") from error
        for entry in parse_metafile(text, shown(file), base, kind):
            if entry.name in entries:
                first = entries[entry.name].place
                raise MetafileError(entry.place, "Models", f"the name {entry.name} is in {first} already. Choose another.")
            entries[entry.name] = entry
    return list(entries.values())


def all_entries(say: Callable[[str], None]) -> dict[str, Entry]:
    """Every model, by name; of two with one name the package's, then the user's.

    But a file goes before none: what the package only says how to build is found where somebody has published it.

    Args:
        say: Is told of a model that another of its name hides.

    Raises:
        InputError: A zoo is malformed, or the mirror cannot be reached and never was. One without an index has files only.
    """
    found: dict[str, Entry] = {}
    for entry in [*read_index(shipped_folder().as_uri(), SHIPPED), *own_entries(), *_of_mirror(say)]:
        other = found.get(entry.name)
        if other is None or (other.weights is None and entry.weights is not None):
            found[entry.name] = entry
        elif entry.weights is not None and entry.sha256 != other.sha256:
            say(f"{entry.name}: {entry.place} has another file of this name, which {other.place} hides")
    return found


def own_entries() -> list[Entry]:
    """The models of the user's zoo; none where there is no such folder.

    Raises:
        InputError: It is malformed.
    """
    return read_index(own_zoo().as_uri(), OWN) if (own_zoo() / INDEX_NAME).is_file() else []


def _of_mirror(say: Callable[[str], None]) -> list[Entry]:
    base = mirror_url()
    if base is None:
        return []
    copy = IndexCopy(base, say)
    try:
        entries = read_index(base, MIRROR, copy.read)
    except NotThereError:
        say(f"{MIRROR_VARIABLE}={base}: has no {INDEX_NAME}, so it lists no models of its own")
        return []
    except UnreachableError as error:
        try:
            entries = read_index(base, MIRROR, copy.recall)
        except InputError:
            # without a sound copy the network is what to mend
            raise error from None
        say(f"{error} Going on with its list as it was last read.")
        return entries
    copy.save()
    return entries


def find(name: str, entries: dict[str, Entry]) -> Entry:
    """The model of a name.

    Raises:
        InputError: There is none; the nearest names are said.
    """
    if name in entries:
        return entries[name]
    by_file = {entry.file_name.rpartition(".")[0]: known for known, entry in entries.items() if entry.weights is not None}
    exact = [by_file[name]] if name in by_file else []
    parts = [known for known in entries if name.lower() in known.lower()]
    hint = did_you_mean(
        exact or parts[:3] or near_names(name, entries, cutoff=0.6), "`mmsscl zoo list` shows all names."
    )
    raise InputError(f"{name}: no such model. {hint}")
