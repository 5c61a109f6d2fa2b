"""What the first bytes of a JPEG, PNG or WebP file say: format, size and EXIF orientation, with no pixel decoded."""

from typing import Literal, NamedTuple

SUPPORTED_FORMATS = "JPEG, PNG or WebP"
_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
# Start-of-frame markers; C4 (Huffman tables), C8 (reserved) and CC (arithmetic coding) lie in the same range.
_JPEG_FRAME_MARKERS = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_JPEG_BARE_MARKERS = frozenset(range(0xD0, 0xD9)) | {0x01}
_EXIF_ORIENTATION_TAG = 0x0112


class ImageHeader(NamedTuple):
    """Facts of an image file.

    Attributes:
        format: ``"jpeg"``, ``"png"`` or ``"webp"``.
        width: Stored width in pixels, before the EXIF rotation.
        height: Stored height in pixels, before the EXIF rotation.
        orientation: EXIF orientation, 1 to 8 (1: upright, also where the file has none or an invalid one).
    """

    format: str
    width: int
    height: int
    orientation: int


def read_image_header(data: bytes) -> ImageHeader:
    """Reads size and orientation in microseconds, whatever the size of the photo.

    Args:
        data: The whole file, or enough of its start to hold the header.

    Returns:
        The header's facts.

    Raises:
        ValueError: The data is none of the supported formats, or its header is cut or damaged.
    """
    try:
        if data[:2] == b"\xff\xd8":
            return _read_jpeg(data)
        if data[:8] == _PNG_SIGNATURE:
            return _read_png(data)
        if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
            return _read_webp(data)
    except IndexError:
        raise ValueError("its header is cut short") from None
    raise ValueError(f"its first bytes {data[:8]!r} are not those of a {SUPPORTED_FORMATS} file")


def is_cut_short(data: bytes, image_format: str) -> bool:
    """Whether the file ends before its format's own end mark (trailing bytes after the mark are harmless).

    Decoders of some versions fill the missing part with gray and say nothing, so the mark is checked first.

    Args:
        data: The whole file.
        image_format: ``ImageHeader.format``.
    """
    if image_format == "jpeg":
        # An EXIF thumbnail has an end mark of its own: only one behind the last scan counts.
        return not data.endswith(b"\xff\xd9") and data.rfind(b"\xff\xd9") < data.rfind(b"\xff\xda")
    if image_format == "png":
        end = data.rfind(b"IEND")
        return end < 0 or end + 8 > len(data)
    return int.from_bytes(data[4:8], "little") + 8 > len(data)


def _checked(image_format: str, width: int, height: int, orientation: int) -> ImageHeader:
    if width == 0 or height == 0:
        raise ValueError(f"its header gives the size {width}x{height}")
    return ImageHeader(image_format, width, height, orientation)


def _read_jpeg(data: bytes) -> ImageHeader:
    orientation = 1
    position = 2
    while True:
        if data[position] != 0xFF:
            raise ValueError(f"its JPEG markers are damaged at byte {position}")
        while data[position] == 0xFF:
            position += 1
        marker = data[position]
        position += 1
        if marker in _JPEG_BARE_MARKERS:
            continue
        if marker in (0xD9, 0xDA):
            raise ValueError("its JPEG data begins before its size is given")
        length = data[position] << 8 | data[position + 1]
        if marker in _JPEG_FRAME_MARKERS:
            height = data[position + 3] << 8 | data[position + 4]
            width = data[position + 5] << 8 | data[position + 6]
            return _checked("jpeg", width, height, orientation)
        if marker == 0xE1 and data[position + 2 : position + 8] == b"Exif\0\0":
            orientation = _exif_orientation(data[position + 8 : position + length])
        position += length


def _read_png(data: bytes) -> ImageHeader:
    if len(data) < 24:
        raise IndexError
    width, height = int.from_bytes(data[16:20], "big"), int.from_bytes(data[20:24], "big")
    orientation = 1
    position = 8
    while position + 8 <= len(data):
        length = int.from_bytes(data[position : position + 4], "big")
        kind = data[position + 4 : position + 8]
        if kind == b"eXIf":
            orientation = _exif_orientation(data[position + 8 : position + 8 + length])
        if kind in (b"eXIf", b"IDAT", b"IEND"):
            break
        position += 12 + length
    return _checked("png", width, height, orientation)


def _read_webp(data: bytes) -> ImageHeader:
    if len(data) < 30:
        raise IndexError
    kind = data[12:16]
    orientation = 1
    if kind == b"VP8 ":
        width = int.from_bytes(data[26:28], "little") & 0x3FFF
        height = int.from_bytes(data[28:30], "little") & 0x3FFF
    elif kind == b"VP8L":
        bits = int.from_bytes(data[21:25], "little")
        width, height = (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    elif kind == b"VP8X":
        width = int.from_bytes(data[24:27], "little") + 1
        height = int.from_bytes(data[27:30], "little") + 1
        position = 12
        while position + 8 <= len(data):
            length = int.from_bytes(data[position + 4 : position + 8], "little")
            if data[position : position + 4] == b"EXIF":
                orientation = _exif_orientation(data[position + 8 : position + 8 + length].removeprefix(b"Exif\0\0"))
                break
            position += 8 + length + length % 2
    else:
        raise ValueError(f"its WebP chunk {kind!r} is unknown")
    return _checked("webp", width, height, orientation)


def _exif_orientation(tiff: bytes) -> int:
    """Orientation in a TIFF block (EXIF 2.3, section 4.6.4); 1 where it is absent or damaged, as decoders do."""
    orders: dict[bytes, Literal["little", "big"]] = {b"II*\0": "little", b"MM\0*": "big"}
    order = orders.get(tiff[:4])
    if order is None:
        return 1

    def number(start: int, size: int) -> int:
        return int.from_bytes(tiff[start : start + size], order)

    first = number(4, 4)
    for entry in range(first + 2, min(first + 2 + 12 * number(first, 2), len(tiff) - 11), 12):
        if number(entry, 2) == _EXIF_ORIENTATION_TAG:
            value = number(entry + 8, 2)
            return value if 1 <= value <= 8 else 1
    return 1
