"""Put an exported backbone into a zoo folder that others can list and download from."""
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from mmsscl.atomic_file import atomic_file
from mmsscl.errors import InputError
from mmsscl.zoo.cache import locked, own_zoo
from mmsscl.zoo.catalogue import INDEX_NAME, read_index, shipped_folder
from mmsscl.zoo.entry import OWN, PLAIN_NAME, SHIPPED, Entry
from mmsscl.zoo.file_hash import sha256_of
from mmsscl.zoo.metafile import parse_metafile, parse_yaml
from mmsscl.zoo.transport import read_text

METAFILE_NAME = "metafile.yml"


def publish(
    file: Path,
    name: str,
    into: Path | None = None,
    facts: dict[str, Any] | None = None,
    results: list[dict[str, Any]] | None = None,
    replace: bool = False,
    say: Callable[[str], None] = lambda _: None,
) -> Path:
    """Copy a backbone into a zoo folder and enter it there, with its hash.

    The folder holds ``NAME-<8 hex of the sha256>.pth``, ``metafile.yml`` and ``model-index.yml``; served by any file server,
    or named by ``MMSSCL_ZOO=file:///FOLDER``, it is a mirror. The entry is written last: a name that is listed has its file.
    The same file again adds to its entry, and changes what is given.

    Args:
        file: Of ``mmsscl export``, for mmdet or mmpretrain; ``.pth`` or ``.safetensors``.
        name: Of the model; letters, digits and ``. _ + -``.
        into: The folder; None: the user's zoo in the cache.
        facts: ``method``, ``config``, and of the metadata ``Training Data`` and ``Epochs``; what is missing is taken from
            the file's entry, or the package's entry of the same name.
        results: As the metafile has them: ``Task``, ``Dataset``, ``Metrics``; none: those of the file's entry stay.
        replace: Take the place of another file of this name.
        say: Is told when another process works in the folder.

    Returns:
        The file in the zoo.

    Raises:
        InputError: It is no exported backbone or one for another library, the name is taken, the folder's index or a
            metafile is malformed, or the folder cannot be written to.
    """
    if PLAIN_NAME.fullmatch(name) is None:
        raise InputError(f"--name {name}: is no name. Use letters, digits and . _ + -, a letter or digit first.")
    folder = own_zoo() if into is None else into.expanduser().absolute()
    if folder.exists() and not folder.is_dir():
        raise InputError(f"--into {folder}: is a file. Name a folder.")
    shipped = {entry.name: entry for entry in read_index(shipped_folder().as_uri(), SHIPPED)}
    if name in shipped and shipped[name].weights is not None:
        raise InputError(f"--name {name}: the package lists a file of this name already. Choose another.")
    meta = _meta_of(file)
    digest = sha256_of(file)
    suffix = ".safetensors" if file.suffix == ".safetensors" else ".pth"
    model = _model(name, f"{name}-{digest[:8]}{suffix}", digest, meta, facts or {}, results or [])
    with locked(folder, say):
        index, metafile = folder / INDEX_NAME, folder / METAFILE_NAME
        if index.is_file():
            read_index(folder.as_uri(), OWN)
        texts = {metafile: _with_model(_content(metafile), model, metafile, replace, shipped.get(name))}
        outline = _content(index)
        imports = outline.get("Import") or []
        if METAFILE_NAME not in imports:
            texts[index] = _text({**outline, "Import": [*imports, METAFILE_NAME]})
        # as all of it would be read afterwards: a name may be in another metafile of the folder
        after = {place.as_uri(): text for place, text in texts.items()}
        read_index(folder.as_uri(), OWN, lambda url: after[url] if url in after else read_text(url))
        target = folder / model["Weights"]
        try:
            with atomic_file(target) as stream, file.open("rb") as source:
                shutil.copyfileobj(source, stream)
            if sha256_of(target) != digest:
                target.unlink()
                raise InputError(f"{file}: changed while it was copied. Try again when nothing writes to it.")
            for place, text in texts.items():
                with atomic_file(place) as stream:
                    stream.write(text.encode())
        except OSError as error:
            raise InputError(f"{folder}: cannot be written to ({error.strerror}). Name another by --into.") from error
    return target


def _meta_of(file: Path) -> dict[str, Any]:
    from mmsscl.zoo.read_backbone import read_backbone
    from mmsscl.zoo.safe_load import load_checkpoint

    if not read_backbone(file).exported:
        raise InputError(f"{file}: is a checkpoint of training. Export its backbone: mmsscl export {file} backbone.pth")
    meta: dict[str, Any] = load_checkpoint(file)["meta"]
    library = meta.get("layout", "mmdet")
    if library not in ("mmdet", "mmpretrain"):
        raise InputError(
            f"{file}: was exported for {library}, and what a zoo lists is for mmdet and mmpretrain. Export it for them: "
            f"mmsscl export {file} backbone.pth --to mmdet"
        )
    return meta


def _model(
    name: str, weights: str, digest: str, meta: dict[str, Any], facts: dict[str, Any], results: list[dict[str, Any]]
) -> dict[str, Any]:
    """The entry, as far as the file and the caller tell."""
    epochs = facts.get("Epochs")
    metadata = _said({
        "Backbone": meta["arch"],
        "Training Data": facts.get("Training Data"),
        "Epochs": int(epochs) if isinstance(epochs, float) and epochs.is_integer() else epochs,
        "Branch": meta.get("branch"),
        "Mean": [float(value) for value in meta["mean"]],
        "Std": [float(value) for value in meta["std"]],
        "Channel Order": meta["channel_order"],
        "Made With": f"mmsscl {meta.get('mmsscl_version', '?')}",
    })  # fmt: skip
    return _said({
        "Name": name,
        "In Collection": facts.get("method"),
        "Metadata": metadata,
        "Config": facts.get("config"),
        "Results": results or None,
        "Weights": weights,
        "SHA256": digest,
    })  # fmt: skip


def _with_model(
    content: dict[str, Any], model: dict[str, Any], metafile: Path, replace: bool, shipped: Entry | None
) -> str:
    """The metafile's text with the model in it."""
    models = list(content.get("Models") or [])
    before: dict[str, Any] = next((other for other in models if other["Name"] == model["Name"]), {})
    if before and before.get("SHA256") != model["SHA256"]:
        if not replace:
            raise InputError(
                f"--name {model['Name']}: {metafile} has another file of this name (sha256 {before.get('SHA256')}). Choose "
                "another name, or --replace."
            )
        before = {}
    known: dict[str, Any] = {}
    if shipped is not None:
        about = _said({key: shipped.metadata.get(key) for key in ("Training Data", "Epochs")})
        known = _said({"In Collection": shipped.method, "Config": shipped.config, "Metadata": about})
    about = {key: value for each in (known, before, model) for key, value in (each.get("Metadata") or {}).items()}
    model = {**known, **before, **model, "Metadata": about}
    models = [other for other in models if other["Name"] != model["Name"]] + [model]
    collections = list(content.get("Collections") or [])
    method = model.get("In Collection")
    if method is not None and method not in [collection["Name"] for collection in collections]:
        collections.append({"Name": method})
    return _text({**content, "Collections": collections, "Models": models})


def _said(content: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in content.items() if value is not None}


def _content(file: Path) -> dict[str, Any]:
    """What a metafile of the folder holds, its types checked; nothing where there is none."""
    text = read_text(file.as_uri()) if file.is_file() else ""
    if not text.strip():
        return {}
    parse_metafile(text, str(file), file.parent.as_uri(), OWN)
    return parse_yaml(text, str(file))


def _text(content: dict[str, Any]) -> str:
    return yaml.safe_dump(content, sort_keys=False, allow_unicode=True)
