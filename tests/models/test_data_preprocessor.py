"""PairDataPreprocessor: equality with mmpretrain's and mmdet's, the augmented path, no read-back, messages."""
import contextlib
from pathlib import Path
from typing import Any

import cv2
import mmcv
import numpy as np
import pytest
import torch
from torch import Tensor

from mmsscl.datasets.encoded_image import EncodedImage
from mmsscl.datasets.random_streams import RandomStreams
from mmsscl.datasets.transforms.photometric import DrawPhotometric
from mmsscl.errors import InputError
from mmsscl.models.augment import apply_photometric_
from mmsscl.models.data_preprocessor import PairDataPreprocessor
from mmsscl.registry import MODELS

MEAN = [123.675, 116.28, 103.53]
STD = [58.395, 57.12, 57.375]


def batch(count: int = 6, size: int = 48) -> dict[str, Any]:
    generator = torch.Generator().manual_seed(0)
    views = [torch.randint(0, 256, (count, 3, size, size), generator=generator, dtype=torch.uint8) for _ in range(2)]
    transform = DrawPhotometric()
    rows = np.stack([transform.transform({"streams": RandomStreams(0, 0, i)})["photometric"] for i in range(count)])
    pairs = {
        "geometry": torch.rand(count, 2, 5),
        "photometric": torch.from_numpy(rows),
        "index": torch.arange(count, dtype=torch.int64),
    }
    return {"inputs": views, "pairs": pairs}


def normalised(images: Tensor) -> Tensor:
    return (images.float() - torch.tensor(MEAN).view(3, 1, 1)) / torch.tensor(STD).view(3, 1, 1)


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    generator = np.random.default_rng(0)
    coarse = generator.integers(0, 256, (9, 13, 3), dtype=np.uint8)
    path = tmp_path / "photo.jpg"
    assert cv2.imwrite(str(path), cv2.resize(coarse, (133, 97), interpolation=cv2.INTER_CUBIC))
    return path


def test_without_augmentation_equals_mmpretrain_and_mmdet_bit_for_bit(photo: Path) -> None:
    # After mmsscl, which serves mmcv's operators where none are compiled.
    from mmdet.models import DetDataPreprocessor
    from mmpretrain.models import ClsDataPreprocessor, SelfSupDataPreprocessor

    view = torch.from_numpy(EncodedImage(photo.read_bytes(), str(photo)).decode()).permute(2, 0, 1)[None].contiguous()
    bgr = torch.from_numpy(mmcv.imread(str(photo))).permute(2, 0, 1).contiguous()
    ours = PairDataPreprocessor(MEAN, STD)({"inputs": [view, view]}, training=False)["inputs"]
    settings = {"mean": MEAN, "std": STD}
    mmpretrain_cls = ClsDataPreprocessor(to_rgb=True, **settings)({"inputs": [bgr]})["inputs"]
    mmpretrain_ssl = SelfSupDataPreprocessor(to_rgb=True, **settings)(
        {"inputs": [bgr[None], bgr[None]], "data_samples": None}
    )["inputs"]
    mmdet = DetDataPreprocessor(bgr_to_rgb=True, **settings)({"inputs": [bgr], "data_samples": None})["inputs"]
    assert ours[0].shape == (1, 3, 97, 133)
    for other in (mmpretrain_cls, *mmpretrain_ssl, mmdet):
        assert torch.equal(ours[0], other)
        assert torch.equal(ours[1], other)


@pytest.mark.parametrize("reason", ["not training", "augment=False", "no column", "no pairs"])
def test_only_normalises_when_augmentation_is_off(reason: str) -> None:
    data = batch()
    if reason == "no column":
        del data["pairs"]["photometric"]
    if reason == "no pairs":
        del data["pairs"]
    preprocessor = PairDataPreprocessor(augment=reason != "augment=False")
    result = preprocessor(data, training=reason != "not training")
    for view, output in zip(data["inputs"], result["inputs"]):
        assert torch.equal(output, normalised(view))


def test_training_applies_each_views_own_rows() -> None:
    data = batch()
    photometric = data["pairs"]["photometric"].clone()
    before = [view.clone() for view in data["inputs"]]
    result = PairDataPreprocessor()(data, training=True)
    assert len(result["inputs"]) == 2
    for index, view in enumerate(before):
        assert torch.equal(data["inputs"][index], view), "the batch itself must not change"
        expected = normalised(apply_photometric_(view.float(), photometric[:, index].contiguous()))
        torch.testing.assert_close(result["inputs"][index], expected, rtol=0, atol=1e-4)
        assert (result["inputs"][index] - normalised(view)).abs().mean() > 0.05
    assert set(result["pairs"]) == {"geometry", "photometric", "index"}
    assert torch.equal(result["pairs"]["photometric"], photometric)


def test_cpu_chunks_do_not_change_the_result(monkeypatch: pytest.MonkeyPatch) -> None:
    results = []
    for chunk in (1, 5 * 3 * 48 * 48 * 4, 1 << 30):
        monkeypatch.setattr("mmsscl.models.data_preprocessor._CPU_CHUNK_BYTES", chunk)
        results.append(torch.cat(PairDataPreprocessor()(batch(), training=True)["inputs"]))
    torch.testing.assert_close(results[0], results[2], rtol=0, atol=1e-4)
    torch.testing.assert_close(results[1], results[2], rtol=0, atol=1e-4)


def test_channels_last_changes_the_memory_only() -> None:
    plain = PairDataPreprocessor()(batch(), training=True)["inputs"]
    channels_last = PairDataPreprocessor(channels_last=True)(batch(), training=True)["inputs"]
    for left, right in zip(plain, channels_last):
        assert torch.equal(left, right)
        assert right.is_contiguous(memory_format=torch.channels_last)
        assert not left.is_contiguous(memory_format=torch.channels_last)


def test_autocast_around_it_changes_nothing() -> None:
    plain = PairDataPreprocessor()(batch(), training=True)["inputs"]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = PairDataPreprocessor()(batch(), training=True)["inputs"]
    assert all(torch.equal(left, right) for left, right in zip(plain, inside))


def test_nothing_is_read_back_from_the_device(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tensors on the meta device hold no data: any .item(), .cpu(), nonzero or boolean index on them raises."""
    monkeypatch.setattr(torch, "autocast", lambda **_: contextlib.nullcontext())  # it does not know this device
    preprocessor = PairDataPreprocessor()
    preprocessor.to("meta")
    transform = DrawPhotometric(views=[{"gray_prob": 0.5, "solarize_prob": 0.5}, {"blur": "gaussian"}])
    data = batch(16)
    rows = [transform.transform({"streams": RandomStreams(0, 0, i)})["photometric"] for i in range(16)]
    data["pairs"]["photometric"] = torch.from_numpy(np.stack(rows))
    result = preprocessor(with_local(data), training=True)
    assert result["pairs"]["local_views"].shape == (16, 3, 3, 32, 32)
    assert all(view.device.type == "meta" and view.shape == (16, 3, 48, 48) for view in result["inputs"])
    assert all(tensor.device.type == "meta" for tensor in result["pairs"].values())


def with_local(data: dict[str, Any], number: int = 3, size: int = 32) -> dict[str, Any]:
    count = len(data["inputs"][0])
    generator = torch.Generator().manual_seed(7)
    transform = DrawPhotometric(local={"gray_prob": 0.5, "blur_prob": 0.5})
    rows = [
        transform.transform({"streams": RandomStreams(0, 0, i), "local_geometry": [None] * number})["local_photometric"]
        for i in range(count)
    ]
    data["pairs"]["local_views"] = torch.randint(
        0, 256, (count, number, 3, size, size), generator=generator, dtype=torch.uint8
    )
    data["pairs"]["local_photometric"] = torch.from_numpy(np.stack(rows))
    return data


def test_local_crops_pass_the_same_chain() -> None:
    data = with_local(batch())
    before = data["pairs"]["local_views"].clone()
    result = PairDataPreprocessor(MEAN, STD)(data, training=True)
    for image in range(6):
        for crop in range(3):
            expected = before[image, crop].float()[None]
            apply_photometric_(expected, data["pairs"]["local_photometric"][image, crop][None])
            torch.testing.assert_close(result["pairs"]["local_views"][image, crop], normalised(expected)[0])
    plain = PairDataPreprocessor(MEAN, STD)(batch(), training=True)
    assert all(torch.equal(left, right) for left, right in zip(result["inputs"], plain["inputs"]))
    assert data["pairs"]["local_views"].dtype == torch.uint8, "the caller's batch must be left alone"
    assert torch.equal(data["pairs"]["local_views"], before)


@pytest.mark.parametrize("training", [False, True])
def test_local_crops_are_only_normalised_when_augmentation_is_off(training: bool) -> None:
    data = with_local(batch())
    result = PairDataPreprocessor(MEAN, STD, augment=not training)(data, training=training)["pairs"]["local_views"]
    assert torch.equal(result, normalised(data["pairs"]["local_views"].flatten(0, 1)).unflatten(0, (6, 3)))


def test_local_crops_keep_channels_last_memory() -> None:
    result = PairDataPreprocessor(channels_last=True)(with_local(batch()), training=True)["pairs"]["local_views"]
    assert result.flatten(0, 1).is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("local_views", torch.zeros(6, 3, 8, 8, dtype=torch.uint8), r"expected uint8 \(6, L, 3, s, s\)"),
        ("local_views", torch.zeros(6, 2, 3, 8, 8), r"is float32 \(6, 2, 3, 8, 8\); expected uint8"),
        ("local_views", torch.zeros(5, 2, 3, 8, 8, dtype=torch.uint8), r"expected uint8 \(6, L, 3, s, s\)"),
        ("local_views", torch.zeros(6, 0, 3, 8, 8, dtype=torch.uint8), r"expected uint8 \(6, L, 3, s, s\)"),
        ("local_photometric", torch.zeros(6, 2, 9), r"local_photometric'\] is .*; expected float32 \(6, 3, 9\)"),
    ],
)
def test_bad_local_crops_are_named(key: str, value: Tensor, message: str) -> None:
    data = with_local(batch())
    data["pairs"][key] = value
    with pytest.raises(InputError, match=message):
        PairDataPreprocessor()(data, training=True)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
def test_gpu_equals_cpu_without_a_sync() -> None:
    expected = PairDataPreprocessor()(batch(), training=True)["inputs"]
    preprocessor = PairDataPreprocessor().cuda()
    data = batch()
    data["inputs"] = [view.pin_memory() for view in data["inputs"]]
    data["pairs"] = {key: value.pin_memory() for key, value in data["pairs"].items()}
    preprocessor(data, training=True)  # fills the cache of matrices
    torch.cuda.set_sync_debug_mode("error")
    try:
        result = preprocessor(data, training=True)["inputs"]
    finally:
        torch.cuda.set_sync_debug_mode("default")
    for left, right in zip(result, expected):
        # 1.5 gray levels of the smallest std; a pixel at the solarize threshold may fall on the other side.
        assert ((left.cpu() - right).abs() < 1.5 / 57).float().mean() > 0.9999


def test_no_buffer_enters_a_checkpoint() -> None:
    assert PairDataPreprocessor().state_dict() == {}


def test_is_built_from_a_config() -> None:
    preprocessor = MODELS.build({"type": "PairDataPreprocessor", "mean": [0, 0, 0], "std": [1, 1, 1]})
    data = batch()
    assert torch.equal(preprocessor(data)["inputs"][0], data["inputs"][0].float())


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ([torch.zeros(2, 3, 8, 8)] * 2, r"inputs'\]\[0\] is float32 \(2, 3, 8, 8\); expected uint8"),
        ([torch.zeros(2, 3, 8, 8, dtype=torch.uint8)] * 3, r"holds 3 views; expected exactly two"),
        ([torch.zeros(3, 8, 8, dtype=torch.uint8)] * 2, r"uint8 \(3, 8, 8\); expected uint8 \(B, 3, H, W\)"),
        ([torch.zeros(2, 1, 8, 8, dtype=torch.uint8)] * 2, r"uint8 \(2, 1, 8, 8\)"),
        (
            [torch.zeros(2, 3, 8, 8, dtype=torch.uint8), torch.zeros(2, 3, 9, 8, dtype=torch.uint8)],
            r"\(2, 3, 8, 8\) and \(2, 3, 9, 8\)",
        ),
        ([["a"], ["b"]], r"is a list of list; .*default_collate"),
        (torch.zeros(2, 3, 8, 8, dtype=torch.uint8), r"is uint8 \(2, 3, 8, 8\); expected two uint8 tensors"),
        (None, r"is a NoneType; expected two uint8 tensors"),
    ],
)
def test_bad_views_are_named(inputs: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        PairDataPreprocessor()({"inputs": inputs})


def test_bad_photometric_is_named() -> None:
    data = batch()
    data["pairs"]["photometric"] = torch.zeros(6, 2, 4)
    with pytest.raises(InputError, match=r"photometric'\] is float32 \(6, 2, 4\); expected float32 \(6, 2, 9\)"):
        PairDataPreprocessor()(data, training=True)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"mean": [1.0]}, r"mean is \[1.0\]; give three numbers"),
        ({"std": 1.0}, r"std is 1.0; give three numbers"),
        ({"std": [1.0, 0.0, 1.0]}, r"above 0"),
    ],
)
def test_bad_settings_are_named(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        PairDataPreprocessor(**settings)
