"""Read a config file and the ``--cfg-options`` of the command line, and say what is wrong with them.

mmengine ignores a setting that nothing reads, silently: a misspelt ``train_dataloder``, or a ``data_root`` set in a child
config after its base has used the old one. Both are errors here.
"""

import ast
import traceback
from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.logging import print_log

from mmsscl.engine.config_keys import KNOWN_KEYS, paths_to_value
from mmsscl.engine.config_options import merge_options
from mmsscl.errors import InputError
from mmsscl.names import did_you_mean, near_names

INSTALLED = Path(__file__).resolve().parents[1] / ".mim"
"""Where an installed package keeps ``configs/`` (see setup.py); absent in a checkout that is not installed."""


def load_config(path: str | Path, options: dict[str, Any] | None = None) -> Config:
    """Read a config, refuse settings without effect, and merge the command line's options.

    A helper variable (``image_size = 224``) is fine as long as the file that sets it, or a file that inherits from it by
    ``_base_.name``, reads it. Variables that inherited files offer may stay unread, if none is a misspelt
    key. Options may add keys below an existing setting, but not with a name that only just misses
    one that is there, and not at the top level, where nothing would read them.

    Args:
        path: A ``.py``, ``.yaml`` or ``.json`` config; a relative path that does not exist, such as
            ``configs/scrl_r50_coco.py`` outside a checkout, is looked up in the installed package.
        options: Dotted keys and values of ``--cfg-options``.

    Returns:
        The merged config.

    Raises:
        InputError: If the file is absent or faulty, or a key in it or in ``options`` would have no effect.

    Example:
        >>> load_config("configs/scrl_r50_coco.py", {"train_dataloader.batch_size": 32})  # doctest: +SKIP
    """
    file = _locate(Path(path))
    if not file.is_file():
        raise InputError(_absent(file))
    own_files = _own_files(file)
    try:
        config = Config.fromfile(str(file))
    except InputError:
        raise
    except Exception as error:
        # any error class can come out of a config, which is a program
        if isinstance(error, ImportError) and "custom_imports" in str(error):
            raise
        raise InputError(_execution_error(error, file, own_files)) from error
    _require_effect(config, file, own_files)
    if options:
        merge_options(config, options, file)
    return config


def _locate(path: Path) -> Path:
    if path.exists() or path.is_absolute() or ".." in path.parts or not (INSTALLED / path).is_file():
        return path
    print_log(f"config {path}: not in the current folder, so the installed package's: {INSTALLED / path}", logger="current")
    return INSTALLED / path


def _absent(file: Path) -> str:
    folder = next((each for each in (file.parent, Path("configs")) if each.is_dir()), INSTALLED / "configs")
    names = [str(other.relative_to(folder)) for other in folder.rglob("*.py") if "_base_" not in other.parts]
    hint = did_you_mean(near_names(file.name, names), f"Configs there: {', '.join(sorted(names)[:8])}." if names else "")
    kind = "is a folder" if file.is_dir() else "no such file"
    return f"config {file}: {kind}. {hint or 'Give the path of a config, for example configs/scrl_r50_coco.py.'}"


def _own_files(file: Path) -> dict[Path, ast.Module]:
    """The config and the files it inherits from, parsed; those of installed packages (``mmdet::``) left out."""
    found: dict[Path, ast.Module] = {}
    waiting = [file]
    while waiting:
        current = waiting.pop()
        if current.suffix != ".py" or current.resolve() in {path.resolve() for path in found}:
            continue
        try:
            tree = ast.parse(current.read_text(encoding="utf-8"), filename=str(current))
        except SyntaxError as error:
            line = (error.text or "").strip()
            raise InputError(
                f"config {current}, line {error.lineno}: {error.msg}: {line!r}. Mend the Python syntax there."
            ) from error
        except UnicodeDecodeError as error:
            raise InputError(f"config {current}: is not a UTF-8 text file. Give a Python config.") from error
        found[current] = tree
        for base in _bases(tree):
            target = current.parent / base
            if "::" in base:
                continue
            if not target.is_file():
                raise InputError(
                    f"config {current}: _base_ names {base}, but {target} does not exist. "
                    "Paths in _base_ are relative to the file they stand in."
                )
            waiting.append(target)
    return found


def _bases(tree: ast.Module) -> list[str]:
    for statement in tree.body:
        if isinstance(statement, ast.Assign) and any(
            isinstance(target, ast.Name) and target.id == "_base_" for target in statement.targets
        ):
            try:
                value = ast.literal_eval(statement.value)
            except ValueError:
                return []
            return [value] if isinstance(value, str) else list(value)
    return []


def _execution_error(error: Exception, file: Path, own_files: dict[Path, ast.Module]) -> str:
    where = f"config {file}"
    # mmengine executes temporary copies, line for line, under the original's name or none
    names = {str(path.resolve()): path for path in own_files}
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        known = names.get(str(Path(frame.filename).resolve()))
        if known is not None:
            where = f"config {known}, line {frame.lineno}"
            break
    return f"{where}: {type(error).__name__}: {error}. Mend the config there."


def _require_effect(config: Config, file: Path, own_files: dict[Path, ast.Module]) -> None:
    if any("read_base" in ast.dump(tree) for tree in own_files.values()):
        return  # lazily imported bases share their names by import: every read is a plain one in another file
    inherited_reads = {
        node.attr
        for tree in own_files.values()
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "_base_"
    } | {
        # {{_base_.name}} is a set of a set of an attribute to the parser, or stands inside a string
        name
        for path in own_files
        for name in _templated_names(path.read_text(encoding="utf-8"))
    }
    for path, tree in own_files.items():
        reads = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)}
        for statement in tree.body:
            for name in _assigned(statement):
                if name in KNOWN_KEYS or name in reads or name in inherited_reads or name.startswith("_"):
                    continue
                if name not in config:
                    continue  # a module, a function, or deleted by the file itself
                if path != file and not near_names(name, KNOWN_KEYS, cutoff=0.9):
                    continue  # an inherited file may offer variables that this config has no use for
                raise InputError(_without_effect(name, f"config {path}, line {statement.lineno}", config))


def _templated_names(text: str) -> set[str]:
    return {part.split("}}")[0].strip().split(".")[0] for part in text.split("_base_.")[1:] if "}}" in part[:80]}


def _assigned(statement: ast.stmt) -> list[str]:
    targets = statement.targets if isinstance(statement, ast.Assign) else []
    if isinstance(statement, ast.AnnAssign):
        targets = [statement.target]
    return [node.id for target in targets for node in ast.walk(target) if isinstance(node, ast.Name)]


def _without_effect(name: str, where: str, config: Config) -> str:
    near = near_names(name, KNOWN_KEYS)
    message = f"{where}: nothing reads the key {name!r}, so it has no effect. "
    if near:
        return message + did_you_mean(near)
    paths = paths_to_value(config, name)
    where_used = f" (for example {', '.join(paths)})" if paths else ""
    return (
        f"{message}Set the key that uses it instead{where_used}, or remove it; a variable of a base config has been used "
        "before the child sets it."
    )
