"""Import hook that supplies ``mmcv._ext`` where mmcv came without compiled operators.

PyPI carries mmcv as source only, and an ordinary (isolated) build leaves the compiled extension out; then
``import mmdet.models`` fails with "No module named 'mmcv._ext'". A cached wheel that was compiled against another
torch fails with "undefined symbol" instead. In both cases :mod:`mmsscl.ops.mmcv_ext` steps in; an extension that
imports always wins.

This module is imported by ``import mmsscl`` and therefore uses the standard library only.
"""
import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType
from typing import Any

EXTENSION = "mmcv._ext"


class ServedExtension(ModuleType):
    """A stand-in for ``mmcv._ext``.

    Known operators are ordinary attributes. Any other public name yields a function that raises
    ``NotImplementedError`` when called: mmcv asks for the names of all its operators at import, long before anyone
    needs them.
    """

    def __getattr__(self, name: str) -> Callable[..., Any]:
        if name.startswith("__"):
            raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}")

        def not_served(*args: object, **kwargs: object) -> None:
            served = ", ".join(sorted(key for key in vars(self) if not key.startswith("_")))
            raise NotImplementedError(
                f"mmcv's compiled operator {name!r} is not available: the installed mmcv has no usable compiled "
                f"extension, and mmsscl does not serve this operator from torchvision (served: {served}). "
                "Compile mmcv for the installed torch: pip install --no-build-isolation --no-cache-dir "
                "--force-reinstall --no-deps onedl-mmcv (10-20 minutes)."
            )

        return not_served


class _ExtensionLoader(Loader):
    """Loads the compiled extension where there is a sound one, and the stand-in otherwise."""

    def __init__(self, compiled: ModuleSpec | None) -> None:
        self.compiled = compiled

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        # The extension links against torch's libraries: without them in the process a sound one looks broken.
        import_module("torch")
        if self.compiled is not None and self.compiled.loader is not None:
            try:
                return self.compiled.loader.create_module(self.compiled)
            except ImportError as error:
                _warn_broken(self.compiled.origin, error)
        return ServedExtension(spec.name)

    def exec_module(self, module: ModuleType) -> None:
        if isinstance(module, ServedExtension):
            module.__dict__.update(import_module("mmsscl.ops.mmcv_ext").SERVED)
        elif self.compiled is not None and self.compiled.loader is not None:
            self.compiled.loader.exec_module(module)


class MmcvExtFinder(MetaPathFinder):
    """Answers for ``mmcv._ext`` and for nothing else."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """See :meth:`importlib.abc.MetaPathFinder.find_spec`."""
        if fullname != EXTENSION:
            return None
        compiled = PathFinder.find_spec(fullname, path, target)
        origin = compiled.origin if compiled is not None else "mmsscl.ops.mmcv_ext"
        return ModuleSpec(fullname, _ExtensionLoader(compiled), origin=origin)


def install_mmcv_ext() -> None:
    """Put the finder in front of Python's own; a second call changes nothing.

    Cheap (no import of torch, torchvision or mmcv): the work happens when something imports ``mmcv.ops``.
    """
    if not any(isinstance(finder, MmcvExtFinder) for finder in sys.meta_path):
        sys.meta_path.insert(0, MmcvExtFinder())


def mmcv_ext_source() -> str:
    """Import ``mmcv._ext`` and say where its operators come from.

    Returns:
        ``"compiled"`` (mmcv's own extension) or ``"torchvision"`` (the operators of :mod:`mmsscl.ops.mmcv_ext`).
    """
    install_mmcv_ext()
    return "torchvision" if isinstance(import_module(EXTENSION), ServedExtension) else "compiled"


def _warn_broken(origin: str | None, error: ImportError) -> None:
    from logging import WARNING

    from mmengine.logging import print_log

    print_log(
        f"mmcv's compiled extension {origin} cannot be imported ({error}); it was probably compiled for another "
        "torch. Its operators are served by torchvision instead. To mend it: pip install --no-build-isolation "
        "--no-cache-dir --force-reinstall --no-deps onedl-mmcv",
        logger="current",
        level=WARNING,
    )
