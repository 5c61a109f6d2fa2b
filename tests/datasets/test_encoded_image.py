import io

import cv2
import mmcv
import numpy as np
import pytest
from PIL import Image, ImageOps

from mmsscl.datasets import EncodedImage
from mmsscl.datasets.image_header import read_image_header
from mmsscl.errors import InputError


def photo(height: int = 101, width: int = 150) -> np.ndarray:
    """Smooth colours with an asymmetric mark, so that any wrong turn or channel order shows."""
    y, x = np.mgrid[:height, :width]
    pixels = np.stack([255 * x / width, 255 * y / height, 127 + 60 * np.sin(x / 9) * np.cos(y / 7)], axis=-1)
    pixels[: height // 5, : width // 4] = (240, 20, 60)
    return pixels.astype(np.uint8)


def encode(image: Image.Image, image_format: str, **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, image_format, **options)
    return buffer.getvalue()


def with_orientation(orientation: int) -> Image.Exif:
    exif = Image.Exif()
    exif[0x010F] = "maker"
    exif[0x0112] = orientation
    return exif


FILES = {
    "jpeg": lambda image: encode(image, "JPEG", quality=90),
    "progressive": lambda image: encode(image, "JPEG", progressive=True),
    "png": lambda image: encode(image, "PNG"),
    "webp": lambda image: encode(image, "WEBP"),
    "webp_lossless": lambda image: encode(image, "WEBP", lossless=True),
}


@pytest.mark.parametrize("kind", FILES)
def test_pixels_equal_mmcv(kind, tmp_path):
    data = FILES[kind](Image.fromarray(photo()))
    path = tmp_path / "photo"
    path.write_bytes(data)
    image = EncodedImage(data, str(path))
    pixels = image.decode()
    assert (image.height, image.width) == (101, 150) == pixels.shape[:2]
    assert pixels.dtype == np.uint8
    assert pixels.flags.c_contiguous
    np.testing.assert_array_equal(pixels, mmcv.imread(str(path))[..., ::-1])


@pytest.mark.parametrize("orientation", range(9))
@pytest.mark.parametrize("image_format", ["JPEG", "PNG", "WEBP"])
def test_exif_orientation_as_pil(image_format, orientation):
    options = {"lossless": True} if image_format == "WEBP" else {}
    data = encode(Image.fromarray(photo()), image_format, exif=with_orientation(orientation), **options)
    expected = np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(data))).convert("RGB"))
    image = EncodedImage(data, "photo")
    assert (image.height, image.width) == expected.shape[:2]
    # Two JPEG decoders may round differently by a few levels.
    tolerance = 4 if image_format == "JPEG" else 0
    assert np.abs(image.decode().astype(int) - expected).max() <= tolerance


@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
@pytest.mark.parametrize("reduction", [2, 4, 8])
def test_reduced_decode_is_the_photo_made_smaller(orientation, reduction):
    exif = with_orientation(orientation)
    odd = EncodedImage(encode(Image.fromarray(photo(203, 301)), "JPEG", exif=exif), "photo")
    assert odd.decode(reduction).shape == (-(-odd.height // reduction), -(-odd.width // reduction), 3)
    # Whole blocks, so that area averages cover the same pixels.
    image = EncodedImage(encode(Image.fromarray(photo(320, 640)), "JPEG", quality=95, exif=exif), "photo")
    pixels = image.decode(reduction)
    small = cv2.resize(image.decode(), pixels.shape[1::-1], interpolation=cv2.INTER_AREA)
    assert np.abs(pixels.astype(int) - small).mean() < 1


def test_reduction_is_for_large_jpeg_only():
    large = EncodedImage(encode(Image.new("RGB", (2000, 1000)), "JPEG"), "large.jpg")
    assert [large.best_reduction(scale) for scale in (0.3, 1, 1.99, 2, 3.9, 4, 7.9, 8, 100)] == [
        1,
        1,
        1,
        2,
        2,
        4,
        4,
        8,
        8,
    ]
    assert EncodedImage(encode(Image.new("RGB", (1999, 1000)), "JPEG"), "small.jpg").best_reduction(8) == 1
    png = EncodedImage(encode(Image.new("RGB", (2000, 1000)), "PNG"), "large.png")
    assert png.best_reduction(8) == 1
    with pytest.raises(ValueError, match="reduction 2 is not supported for png"):
        png.decode(2)
    with pytest.raises(ValueError, match="reduction 3"):
        large.decode(3)


def test_header_of_a_huge_photo():
    # 200 megapixels: beyond the limit at which Pillow refuses to open a file. Only the header is real.
    data = bytearray(encode(Image.new("RGB", (16, 16)), "JPEG"))
    frame = data.index(b"\xff\xc0")
    data[frame + 5 : frame + 9] = (12240).to_bytes(2, "big") + (16320).to_bytes(2, "big")
    image = EncodedImage(bytes(data), "huge.jpg")
    assert (image.height, image.width, image.best_reduction(9.0)) == (12240, 16320, 8)


def test_48_megapixel_photo_decodes_reduced():
    image = EncodedImage(encode(Image.new("RGB", (8000, 6000), (10, 200, 90)), "JPEG"), "photo.jpg")
    pixels = image.decode(image.best_reduction(20.0))
    assert pixels.shape == (750, 1000, 3)
    assert np.abs(pixels[::50, ::50].astype(int) - (10, 200, 90)).max() <= 3


@pytest.mark.parametrize(
    ("mode", "image_format", "tolerance"),
    [("L", "JPEG", 2), ("L", "PNG", 0), ("RGBA", "PNG", 0), ("P", "PNG", 0), ("LA", "PNG", 0), ("CMYK", "JPEG", 6)],
)
def test_other_colour_modes_as_pil(mode, image_format, tolerance):
    source = Image.fromarray(photo()).convert(mode)
    if mode in ("RGBA", "LA"):
        source.putalpha(Image.fromarray(photo()[..., 0]))
    data = encode(source, image_format)
    expected = np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))
    assert np.abs(EncodedImage(data, "photo").decode().astype(int) - expected).max() <= tolerance


def test_sixteen_bit_png():
    sixteen = photo().astype(np.uint16) * 257
    data = cv2.imencode(".png", sixteen[..., ::-1])[1].tobytes()
    np.testing.assert_array_equal(EncodedImage(data, "photo.png").decode(), photo())


@pytest.mark.parametrize("kind", FILES)
def test_files_cut_anywhere_are_refused(kind):
    data = FILES[kind](Image.fromarray(photo()))
    assert EncodedImage(data, "x").decode().shape == (101, 150, 3)
    for end in [*range(64), *np.linspace(64, len(data) - 2, 150).astype(int), len(data) - 1]:
        with pytest.raises(InputError, match=r"broken/photo.*out of the data set"):
            EncodedImage(data[:end], "broken/photo").decode()


def test_file_cut_behind_its_thumbnail_is_refused():
    thumbnail = encode(Image.fromarray(photo(40, 60)), "JPEG")
    data = encode(Image.fromarray(photo()), "JPEG", comment=thumbnail)
    assert EncodedImage(data, "x").decode().shape == (101, 150, 3)
    for share in (0.7, 0.9, 0.99):
        with pytest.raises(InputError, match="cut short"):
            EncodedImage(data[: int(share * len(data))], "x")


@pytest.mark.parametrize("kind", FILES)
def test_bytes_behind_the_end_do_no_harm(kind):
    data = FILES[kind](Image.fromarray(photo()))
    np.testing.assert_array_equal(
        EncodedImage(data + b"\0" * 64 + b"maker's note", "x").decode(), EncodedImage(data, "x").decode()
    )


@pytest.mark.parametrize("data", [b"", b"GIF89a" + bytes(64), b"<html>404</html>" * 9, b"\xff\xd8\xff\xd9" + bytes(30)])
def test_files_that_are_no_photo(data):
    with pytest.raises(InputError, match=r"page\.jpg"):
        EncodedImage(data, "page.jpg")


def test_damaged_data_is_refused():
    data = bytearray(encode(Image.fromarray(photo()), "PNG"))
    middle = len(data) // 2
    data[middle : middle + 400] = bytes(400)
    with pytest.raises(InputError, match="damaged"):
        EncodedImage(bytes(data), "x.png").decode()


def test_header_survives_random_damage():
    data = encode(Image.fromarray(photo()), "JPEG", exif=with_orientation(6))
    rng = np.random.default_rng(0)
    for _ in range(500):
        broken = np.frombuffer(data, np.uint8).copy()
        broken[rng.integers(2, 200, 4)] = rng.integers(0, 256, 4)
        try:
            header = read_image_header(broken.tobytes())
        except ValueError:
            continue
        assert 1 <= header.orientation <= 8
        assert header.height * header.width > 0
