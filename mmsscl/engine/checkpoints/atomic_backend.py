"""mmengine's writing of files, made atomic."""
from pathlib import Path

from mmengine.fileio import LocalBackend, register_backend

from mmsscl.atomic_file import atomic_file


class AtomicLocalBackend(LocalBackend):
    """mmengine's backend for local files, with :func:`~mmsscl.atomic_file.atomic_file` behind what it writes."""

    def put(self, obj: bytes, filepath: str | Path) -> None:
        """Write bytes."""
        with atomic_file(filepath) as file:
            file.write(obj)

    def put_text(self, obj: str, filepath: str | Path, encoding: str = "utf-8") -> None:
        """Write text."""
        self.put(obj.encode(encoding), filepath)


def install_atomic_saving() -> None:
    """Make mmengine write every checkpoint on a local disk atomically, in this process."""
    from mmengine.fileio.io import backend_instances

    register_backend("local", AtomicLocalBackend, force=True, prefixes="")
    for key in [key for key, backend in backend_instances.items() if type(backend) is LocalBackend]:
        del backend_instances[key]
