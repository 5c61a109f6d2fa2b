"""What a file of weights is, by its first bytes."""

from pathlib import Path

from mmsscl.errors import InputError


def require_file(file: Path) -> None:
    """Refuse what is no file, is empty, or only points to one.

    Raises:
        InputError: It is.
    """
    if file.is_dir():
        raise InputError(f"checkpoint {file}: is a folder. Name the .pth file in it.")
    if not file.is_file():
        near = sorted(other.name for other in file.parent.glob("*.pth"))[:8] if file.parent.is_dir() else []
        there = f"In that folder: {', '.join(near)}." if near else "No .pth file lies in that folder."
        raise InputError(f"checkpoint {file}: no such file. {there} Give the path of an existing checkpoint.")
    head = _head(file)
    if not head:
        raise InputError(f"checkpoint {file}: is empty. Copy it again, or take an earlier checkpoint.")
    if head.startswith(b"version https://git-lfs"):
        raise InputError(f"checkpoint {file}: is a Git LFS pointer, not the file itself. Run `git lfs pull`.")


def require_torch_file(file: Path) -> None:
    """Refuse what ``torch.save`` has not written.

    Raises:
        InputError: It has not.
    """
    head = _head(file)
    # torch.save writes a zip archive ("PK"), or before torch 1.6 a pickle (byte 0x80 first)
    if not head.startswith((b"PK", b"\x80")):
        kind = "a text file" if _is_text(head) else "not a file of torch.save"
        raise InputError(
            f"checkpoint {file}: is {kind} (it begins with {head[:24]!r}). "
            "Name a .pth file written by training or by tools/export_backbone.py."
        )


def _head(file: Path) -> bytes:
    with file.open("rb") as stream:
        return stream.read(512)


def _is_text(head: bytes) -> bool:
    try:
        head.decode("utf-8")
    except UnicodeDecodeError as error:
        return error.start > len(head) - 4
    return b"\x00" not in head
