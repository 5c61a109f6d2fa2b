"""Read metafiles in the format that OpenMMLab's tools share (``Collections``, ``Models``), and refuse malformed ones.

Keys beyond the common ones: ``SHA256`` (of the file under ``Weights``, 64 hexadecimal digits), ``Converted From`` (its
layout, where it is another than ours), ``Built By`` (the command that makes the weights), and ``Source`` in a result (who
measured it).
"""
import math
import re
from collections.abc import Callable, Mapping
from typing import Any

import yaml

from mmsscl.errors import InputError
from mmsscl.names import did_you_mean, near_names
from mmsscl.zoo.address import file_name_of, is_url, parse_url
from mmsscl.zoo.entry import PLAIN_NAME, Entry, Result, escapes

MODEL_KEYS = ("Name", "Metadata", "In Collection", "Config", "Results", "Weights", "SHA256", "Converted From", "Built By",
              "Paper", "Code", "README", "Image", "Downstream", "Alias")  # fmt: skip
COLLECTION_KEYS = ("Name", "Metadata", "Paper", "README", "Code", "Results", "Weights", "Config")
RESULT_KEYS = ("Task", "Dataset", "Metrics", "Source")
TOP_KEYS = ("Collections", "Models", "Import")


class MetafileError(InputError):
    """A metafile, and the key in it, that is not what the format asks for."""

    def __init__(self, place: str, key: str, fault: str) -> None:
        super().__init__(f"metafile {place}: {key}{': ' if key else ''}{fault}")


class _Loader(yaml.SafeLoader):
    """Refuses a key that is there twice: of two hashes YAML takes the last in silence."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key, _ in node.value if isinstance(node, yaml.MappingNode) else []:
            if isinstance(key, yaml.ScalarNode) and key.value in seen:
                raise yaml.constructor.ConstructorError(None, None, f"{key.value} is there twice", key.start_mark)
            seen.add(str(key.value))
        return super().construct_mapping(node, deep)


def is_figure(value: Any) -> bool:
    """Whether a value is a number that can be compared with others: no truth value, not NaN, not infinite."""
    return math.isfinite(value) if isinstance(value, float) else isinstance(value, int) and not isinstance(value, bool)


def parse_yaml(text: str, place: str) -> dict[str, Any]:
    """The mapping at the top of a metafile or model index.

    Args:
        text: The file's content.
        place: Its path or URL, for messages.

    Raises:
        InputError: It is no YAML, no mapping, has a key twice, or one that only just misses a known one.
    """
    try:
        content = yaml.load(text, _Loader)
    # a date that does not exist is a ValueError, brackets by the thousand a RecursionError
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        line = f"line {mark.line + 1}: " if mark is not None else ""
        problem = getattr(error, "problem", None) or str(error).splitlines()[0]
        raise MetafileError(place, "", f"{line}no YAML ({problem}). Mend the syntax there.") from error
    if not isinstance(content, dict):
        raise MetafileError(place, "", f"holds {_kind(content)} instead of the keys {', '.join(TOP_KEYS)}.")
    _check_keys(content, TOP_KEYS, place, "")
    return content


def parse_metafile(text: str, place: str, base: str, kind: str) -> list[Entry]:
    """The models of one metafile, checked.

    Args:
        text: The file's content.
        place: Its path or URL, for messages.
        base: URL of the folder that paths under ``Weights`` and ``Config`` are relative to.
        kind: Of the entries, see :class:`mmsscl.zoo.entry.Entry`.

    Raises:
        InputError: Naming the file and the key: wrong YAML, types, hashes, names twice, paths that lead out of the folder.

    Example:
        >>> parse_metafile("Models: [{Name: mine, Built By: make}]", "metafile.yml", "file:///zoo", "own")[0].status
        'built by a command'
    """
    content = parse_yaml(text, place)
    collections: dict[str, dict[str, Any]] = {}
    for key, collection in _listed(content, "Collections", place):
        _check_keys(collection, COLLECTION_KEYS, place, f"{key}.")
        name = _text(collection, "Name", place, key)
        if name is None or name in collections:
            raise MetafileError(place, f"{key}.Name", "is missing." if name is None else f"{name} is there twice.")
        collections[name] = _mapping(collection, "Metadata", place, key)
    entries: dict[str, Entry] = {}
    for key, model in _listed(content, "Models", place):
        entry = _entry(model, collections, place, key, base, kind)
        if entry.name in entries:
            raise MetafileError(place, f"{key}.Name", f"{entry.name} is there twice. Give each model a name of its own.")
        entries[entry.name] = entry
    return list(entries.values())


def _entry(
    model: dict[str, Any], collections: dict[str, dict[str, Any]], place: str, key: str, base: str, kind: str
) -> Entry:
    _check_keys(model, MODEL_KEYS, place, f"{key}.")
    name = _text(model, "Name", place, key)
    if name is None or PLAIN_NAME.fullmatch(name) is None:
        fault = f"{name!r} is no name. Use letters, digits and . _ + -, a letter or digit first." if name else "is missing."
        raise MetafileError(place, f"{key}.Name", fault)
    key = f"{key} ({name})"
    text: Callable[[str], str | None] = lambda field: _text(model, field, place, key)  # noqa: E731
    method = text("In Collection")
    if method is not None and method not in collections:
        hint = did_you_mean(near_names(method, collections), f"There are: {', '.join(collections) or 'none'}.")
        raise MetafileError(place, f"{key}.In Collection", f"{method!r} is none of the file's Collections. {hint}")
    metadata = {**collections.get(method or "", {}), **_mapping(model, "Metadata", place, key)}
    epochs = metadata.get("Epochs")
    if epochs is not None and (not is_figure(epochs) or epochs <= 0):
        raise MetafileError(place, f"{key}.Metadata.Epochs", f"{epochs!r} is no number above 0.")
    weights, sha256, config = text("Weights"), text("SHA256"), text("Config")
    if config is not None and escapes(config):
        raise MetafileError(place, f"{key}.Config", f"{config!r} leads out of the folder. Give a path inside it.")
    _check_weights(weights, sha256, base, place, key)
    return Entry(
        name=name, base=base, kind=kind, place=place, method=method, config=config, metadata=metadata,
        results=_results(model, place, key), weights=weights, sha256=sha256, layout=text("Converted From"),
        built_by=text("Built By"),
    )  # fmt: skip


def _check_weights(weights: str | None, sha256: str | None, base: str, place: str, key: str) -> None:
    if sha256 is not None and re.fullmatch(r"[0-9a-f]{64}", sha256) is None:
        raise MetafileError(place, f"{key}.SHA256", f"{sha256!r} is not 64 hexadecimal digits in lower case.")
    if weights is None:
        if sha256 is not None:
            raise MetafileError(place, f"{key}.SHA256", "is the hash of nothing: there is no Weights.")
        return
    try:
        scheme = parse_url(weights).scheme if is_url(weights) else None
    except InputError as error:
        raise MetafileError(place, f"{key}.Weights", f"{error} A relative path is taken too.") from error
    name = weights.rsplit("/", 1)[-1] if scheme is None else file_name_of(weights)
    if PLAIN_NAME.fullmatch(name) is None or (scheme is None and escapes(weights)):
        raise MetafileError(
            place, f"{key}.Weights", f"{weights!r} could lead out of the cache. Give an address, or a path inside the zoo's "
            "folder, whose names hold letters, digits and . _ + - only, a letter or digit first."
        )  # fmt: skip
    if scheme == "file" and not base.startswith("file:"):
        raise MetafileError(place, f"{key}.Weights", f"{weights!r}: another machine's zoo cannot name files of this one.")
    short = re.search(r"-([0-9a-f]{8})\.\w+$", name)
    if short is not None and sha256 is not None and not sha256.startswith(short.group(1)):
        raise MetafileError(place, f"{key}.SHA256", f"begins with {sha256[:8]}, but the file's name says {short.group(1)}.")


def _results(model: dict[str, Any], place: str, key: str) -> tuple[Result, ...]:
    found = []
    for where, result in _listed(model, "Results", place, f"{key}."):
        _check_keys(result, RESULT_KEYS, place, f"{where}.")
        task, dataset = _text(result, "Task", place, where), _text(result, "Dataset", place, where)
        metrics = _mapping(result, "Metrics", place, where)
        missing = [name for name, value in (("Task", task), ("Dataset", dataset), ("Metrics", metrics)) if not value]
        if missing or task is None or dataset is None:
            raise MetafileError(place, f"{where}.{missing[0]}", "is missing.")
        for name, value in metrics.items():
            if not is_figure(value):
                raise MetafileError(place, f"{where}.Metrics.{name}", f"{value!r} is no number.")
        found.append(Result(task, dataset, metrics, _text(result, "Source", place, where)))
    return tuple(found)


def _listed(content: Mapping[str, Any], name: str, place: str, before: str = "") -> list[tuple[str, dict[str, Any]]]:
    """The mappings of a list under a key, each with what to call it."""
    listed = content.get(name)
    if listed is None:
        return []
    if not isinstance(listed, list):
        raise MetafileError(place, f"{before}{name}", f"is {_kind(listed)} instead of a list (items begin with '- ').")
    keyed = [(f"{before}{name}[{index}]", item) for index, item in enumerate(listed)]
    for key, item in keyed:
        if not isinstance(item, dict):
            raise MetafileError(place, key, f"is {_kind(item)} instead of keys and values.")
    return keyed


def _mapping(content: Mapping[str, Any], name: str, place: str, key: str) -> dict[str, Any]:
    value = content.get(name)
    if value is not None and not isinstance(value, dict):
        raise MetafileError(place, f"{key}.{name}", f"is {_kind(value)} instead of keys and values.")
    return value or {}


def _text(content: Mapping[str, Any], name: str, place: str, key: str) -> str | None:
    value = content.get(name)
    if value is not None and (not isinstance(value, str) or not value):
        raise MetafileError(place, f"{key}.{name}", f"is {_kind(value)} instead of text. Put it in quotes.")
    return value


def _check_keys(content: Mapping[Any, Any], known: tuple[str, ...], place: str, before: str) -> None:
    """Unknown keys are other tools'; one that only just misses a known one is a slip."""
    for key in content:
        near = near_names(str(key), known, count=1) if key not in known else []
        if near and near[0] not in content:
            raise MetafileError(place, f"{before}{key}", f"nothing reads this key. {did_you_mean(near)}")


def _kind(value: Any) -> str:
    if isinstance(value, dict):
        return "a mapping"
    if isinstance(value, list):
        return "a list"
    return "nothing" if value in (None, "") else f"{value!r}"
