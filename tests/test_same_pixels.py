"""With augmentation off, the tensor that reaches the backbone is mmpretrain's and mmdet's for the same file."""
import cv2
import numpy as np
import pytest
import torch
from mmengine.dataset import default_collate

from mmsscl.datasets.scene_images import SceneImages
from mmsscl.registry import MODELS

SIDE = 96
MEAN, STD = [123.675, 116.28, 103.53], [58.395, 57.12, 57.375]
OFF = {"jitter_prob": 0.0, "gray_prob": 0.0, "blur_prob": 0.0, "solarize_prob": 0.0}
# TIFF header and one entry, orientation 6: shown turned by 90 degrees.
EXIF = b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\0\0\0\0"


@pytest.fixture(params=["photo.jpg", "photo.png", "turned.jpg", "gray.jpg", "gray.png"])
def photo(request, tmp_path):
    generator = np.random.default_rng(0)
    pixels = cv2.resize(generator.integers(0, 256, (11, 11, 3), dtype=np.uint8), (SIDE, SIDE))
    # Noise, hard edges and both extremes: what a resize that is no identity would change.
    pixels[: SIDE // 2] = generator.integers(0, 256, (SIDE // 2, SIDE, 3), dtype=np.uint8)
    pixels[-12:, ::2], pixels[-12:, 1::2] = 0, 255
    if request.param.startswith("gray"):
        pixels = pixels[..., 0]
    path = tmp_path / request.param
    assert cv2.imwrite(str(path), pixels)
    if request.param == "turned.jpg":
        data = path.read_bytes()
        path.write_bytes(data[:2] + b"\xff\xe1" + (len(EXIF) + 2).to_bytes(2, "big") + EXIF + data[2:])
        upright = cv2.imread(str(path), cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
        assert not np.array_equal(cv2.imread(str(path)), upright), "the EXIF block must have an effect"
    return path


@pytest.fixture
def references(photo):
    """What mmpretrain and mmdet feed their backbones, by their own loading, packing and preprocessing."""
    from mmdet.datasets.transforms import PackDetInputs
    from mmdet.models import DetDataPreprocessor
    from mmpretrain.datasets import LoadImageFromFile, PackInputs
    from mmpretrain.models import ClsDataPreprocessor

    loaded = LoadImageFromFile()({"img_path": str(photo)})
    pretrain = ClsDataPreprocessor(MEAN, STD, to_rgb=True)({"inputs": [PackInputs()(dict(loaded))["inputs"]]})
    packed = PackDetInputs(meta_keys=("img_shape",))(dict(loaded))
    detection = DetDataPreprocessor(MEAN, STD, bgr_to_rgb=True)(
        {"inputs": [packed["inputs"]], "data_samples": [packed["data_samples"]]}
    )
    return {"mmpretrain": pretrain["inputs"], "mmdet": detection["inputs"]}


@pytest.mark.parametrize("channels_last", [False, True])
def test_backbone_gets_the_peers_tensor_bit_for_bit(photo, references, channels_last):
    images = SceneImages(
        data_root=str(photo.parent),
        pipeline=[
            {"type": "LoadSceneImage"},
            {
                "type": "SpatialConsistentPair", "size": SIDE, "views": [{"type": "WholeImage"}] * 2,
                "boxes": {"type": "GridBoxes", "num_boxes": 3, "min_size": 16},
            },
            {"type": "DrawPhotometric", "views": [OFF, OFF]},
            {"type": "PackPair"},
        ],
    )
    norm = {"type": "BN"}
    model = MODELS.build({
        "type": "SCRL",
        "backbone": {"type": "mmpretrain.ResNet", "depth": 18, "out_indices": (3,), "norm_cfg": norm},
        "neck": {"type": "RegionNeck", "in_channels": 512, "hidden_channels": 8, "out_channels": 4, "norm_cfg": norm},
        "head": {
            "type": "RegionPredictHead", "in_channels": 4, "hidden_channels": 8, "out_channels": 4, "norm_cfg": norm
        },
        "data_preprocessor": {"type": "PairDataPreprocessor", "mean": MEAN, "std": STD},
        "channels_last": channels_last,
    })
    reached = []
    for backbone in (model.backbone, model.target["backbone"]):
        backbone.register_forward_pre_hook(lambda _, args: reached.append(args[0].clone()))
    # Training mode: the photometric chain runs, with every operation off.
    batch = model.data_preprocessor(default_collate([images[0], images[0]]), training=True)
    with torch.no_grad():
        model(**batch, mode="loss")
    assert len(reached) == 2
    for tensor in reached:
        assert tensor.shape == (4, 3, SIDE, SIDE)
        for name, expected in references.items():
            for row in tensor:
                assert torch.equal(row, expected[0]), f"not {name}'s"
