"""Makes ``mmsscl::...`` known to mmengine's configs without importing mmengine.

mmengine resolves ``_base_ = 'mmdet::...'``, ``get_config`` and ``default_scope`` by a fixed table of packages.
``import mmsscl`` enters mmsscl into it at the moment mmengine itself is imported, or at once where it already is.
The configs lie in ``mmsscl/.mim`` (copied into a wheel, links in an editable install; see setup.py).

mmengine's rule for such names asks for a folder in them: ``mmsscl::_base_/default_runtime.py`` is found, a config in
the top folder must be named by its path.
"""
import sys
from collections.abc import Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType

TABLE = "mmengine.config.utils"


class _RegisteringLoader(Loader):
    """Loads mmengine's module as Python would, then adds the entry."""

    def __init__(self, wrapped: Loader) -> None:
        self.wrapped = wrapped

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self.wrapped.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        # From here on the module is an ordinary one, for whoever inspects or reloads it.
        module.__loader__ = self.wrapped
        if module.__spec__ is not None:
            module.__spec__.loader = self.wrapped
        self.wrapped.exec_module(module)
        _add_entry(module)


class ConfigScopeFinder(MetaPathFinder):
    """Answers for the module that holds the table, and for nothing else."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """See :meth:`importlib.abc.MetaPathFinder.find_spec`."""
        if fullname != TABLE:
            return None
        spec = PathFinder.find_spec(fullname, path, target)
        if spec is not None and spec.loader is not None:
            spec.loader = _RegisteringLoader(spec.loader)
        return spec


def register_config_scope() -> None:
    """Enter mmsscl into mmengine's table of packages, now or when mmengine is imported; idempotent."""
    if TABLE in sys.modules:
        _add_entry(sys.modules[TABLE])
    elif not any(isinstance(finder, ConfigScopeFinder) for finder in sys.meta_path):
        sys.meta_path.insert(0, ConfigScopeFinder())


def _add_entry(module: ModuleType) -> None:
    module.MODULE2PACKAGE.setdefault("mmsscl", "mmsscl")
