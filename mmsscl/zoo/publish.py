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
from mmsscl.zoo.metafile import parse_metafile

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

    Args:
        file: Of ``mmsscl export``.
        name: Of the model; letters, digits and ``. _ + -``.
        into: The folder; None: the user's zoo in the cache.
        facts: ``method``, ``config``, and of the metadata ``Training Data`` and ``Epochs``; what is missing is taken from
            the package's entry of the same name.
        results: As the metafile has them: ``Task``, ``Dataset``, ``Metrics``.
        replace: Take the place of another file of this name.
        say: Is told when another process works in the folder.

    Returns:
        The file in the zoo.

    Raises:
        InputError: It is no exported backbone, the name is taken, or the folder's metafile is malformed.
    """
    if PLAIN_NAME.fullmatch(name) is None:
        raise InputError(f"--name {name}: is no name. Use letters, digits and . _ + -, a letter or digit first.")
    folder = own_zoo() if into is None else into.expanduser().absolute()
    if folder.exists() and not folder.is_dir():
        raise InputError(f"--into {folder}: is a file. Name a folder.")
    shipped = {entry.name: entry for entry in read_index(shipped_folder().as_uri(), SHIPPED)}
    if name in shipped and shipped[name].weights is not None:
        raise InputError(f"--name {name}: the package lists a file of this name already. Choose another.")
    from mmsscl.zoo.read_backbone import read_backbone
    from mmsscl.zoo.safe_load import load_checkpoint

    if not read_backbone(file).exported:
        raise InputError(f"{file}: is a checkpoint of training. Export its backbone: mmsscl export {file} backbone.pth")
    meta = load_checkpoint(file)["meta"]
    digest = sha256_of(file)
    model = _model(name, f"{name}-{digest[:8]}.pth", digest, meta, facts or {}, results or [], shipped.get(name))
    with locked(folder, say):
        if (folder / INDEX_NAME).is_file():
            read_index(folder.as_uri(), OWN)
        metafile = folder / METAFILE_NAME
        content = yaml.safe_load(metafile.read_text(encoding="utf-8")) if metafile.is_file() else {}
        text = _with(content, model, metafile, replace)
        parse_metafile(text, str(metafile), folder.as_uri(), OWN)
        target = folder / model["Weights"]
        try:
            with atomic_file(target) as stream, file.open("rb") as source:
                shutil.copyfileobj(source, stream)
            if sha256_of(target) != digest:
                target.unlink()
                raise InputError(f"{file}: changed while it was copied. Try again when nothing writes to it.")
            with atomic_file(metafile) as stream:
                stream.write(text.encode())
            if not (folder / INDEX_NAME).is_file():
                with atomic_file(folder / INDEX_NAME) as stream:
                    stream.write(f"Import:\n- {METAFILE_NAME}\n".encode())
        except OSError as error:
            raise InputError(f"{folder}: cannot be written to ({error.strerror}). Name another by --into.") from error
    return target


def _model(
    name: str, weights: str, digest: str, meta: dict[str, Any], facts: dict[str, Any], results: list[dict[str, Any]],
    known: Entry | None,
) -> dict[str, Any]:  # fmt: skip
    about = known.metadata if known is not None else {}
    epochs = facts.get("Epochs") or about.get("Epochs")
    metadata = {
        "Backbone": meta["arch"],
        "Training Data": facts.get("Training Data") or about.get("Training Data"),
        "Epochs": int(epochs) if epochs is not None and float(epochs).is_integer() else epochs,
        "Branch": meta.get("branch"),
        "Mean": [float(value) for value in meta["mean"]],
        "Std": [float(value) for value in meta["std"]],
        "Channel Order": meta["channel_order"],
        "Made With": f"mmsscl {meta.get('mmsscl_version', '?')}",
    }
    model = {
        "Name": name,
        "In Collection": facts.get("method") or (known.method if known is not None else None),
        "Metadata": {key: value for key, value in metadata.items() if value is not None},
        "Config": facts.get("config") or (known.config if known is not None else None),
        "Results": results or None,
        "Weights": weights,
        "SHA256": digest,
    }
    return {key: value for key, value in model.items() if value is not None}


def _with(content: dict[str, Any], model: dict[str, Any], metafile: Path, replace: bool) -> str:
    """The metafile's text with the model in it."""
    models = list(content.get("Models") or [])
    for other in models:
        if other.get("Name") == model["Name"] and other.get("SHA256") != model["SHA256"] and not replace:
            raise InputError(
                f"--name {model['Name']}: {metafile} has another file of this name (sha256 {other.get('SHA256')}). Choose "
                "another name, or --replace."
            )
    collections = list(content.get("Collections") or [])
    method = model.get("In Collection")
    if method is not None and method not in [collection.get("Name") for collection in collections]:
        collections.append({"Name": method})
    models = [other for other in models if other.get("Name") != model["Name"]] + [model]
    return yaml.safe_dump({"Collections": collections, "Models": models}, sort_keys=False, allow_unicode=True)
