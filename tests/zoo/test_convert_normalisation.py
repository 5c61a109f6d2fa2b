"""How images must be normalised is told, and what differs from a library's own configs is named."""

import pytest
import torch
from mmengine.config import Config

from mmsscl.errors import InputError
from mmsscl.zoo.convert import convert_backbone
from mmsscl.zoo.normalisation import CAFFE_BGR, IMAGENET_RGB, mismatch, settings_for, stated_normalisation
from mmsscl.zoo.read_backbone import read_backbone
from tests.sample_backbones import children, resnet, save, under


@pytest.fixture(scope="module")
def network():
    return resnet(18)


def test_numbers_of_0_to_1_are_told_by_their_size():
    found, remarks = stated_normalisation(None, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225), "RGB")
    assert found.same(IMAGENET_RGB)
    assert found.mean == pytest.approx((123.675, 116.28, 103.53))
    assert found.origin == "you"
    assert "times 255" in remarks[0]
    found, remarks = stated_normalisation(None, CAFFE_BGR.mean, CAFFE_BGR.std, "BGR")
    assert found.same(CAFFE_BGR)
    assert remarks == []


def test_numbers_that_fit_both_ranges_are_asked_about():
    with pytest.raises(InputError, match="--pixel-range 1 or 255"):
        stated_normalisation(None, (0, 0, 0), (1, 1, 1), "RGB")
    assert stated_normalisation(None, (0, 0, 0), (1, 1, 1), "RGB", 1)[0].std == (255, 255, 255)
    assert stated_normalisation(None, (0, 0, 0), (1, 1, 1), "RGB", 255)[0].std == (1, 1, 1)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (dict(mean=(1, 2, 3)), "--std: is missing"),
        (dict(std=(1, 2, 3)), "--mean: is missing"),
        (dict(mean=(1, 2), std=(1, 2, 3)), "give three numbers"),
        (dict(mean=(1, 2, 3), std=(1, 0, 3)), "must be above 0"),
        (dict(channel_order="GBR"), "give RGB or BGR"),
        (dict(channel_order="RGB", pixel_range=256), "--pixel-range 256"),
    ],
)
def test_nonsense_is_refused(options, message):
    with pytest.raises(InputError, match=message):
        stated_normalisation(IMAGENET_RGB, **options)


def test_another_order_alone_takes_the_numbers_along():
    found, remarks = stated_normalisation(IMAGENET_RGB, channel_order="BGR")
    assert found.mean == IMAGENET_RGB.mean[::-1]
    assert "reversed" in remarks[0]


def test_each_library_is_told_in_its_own_words():
    assert mismatch("mmdet", IMAGENET_RGB) is None
    assert mismatch("detectron2", CAFFE_BGR) is None
    assert mismatch("detectron2", IMAGENET_RGB) == (
        "detectron2's own configs normalise otherwise; this backbone needs channel order RGB, not BGR; "
        "std [58.395, 57.12, 57.375], not [1, 1, 1]"
    )
    config = dict(type="mmpretrain.ResNet", depth=50)
    numbers = "mean=[103.53, 116.28, 123.675], std=[1, 1, 1]"
    assert settings_for("mmdet", CAFFE_BGR, config) == [f"model.data_preprocessor: {numbers}, bgr_to_rgb=False"]
    assert settings_for("mmpretrain", CAFFE_BGR, config) == [f"data_preprocessor: {numbers}, to_rgb=False"]
    assert "image.flip(-3)" in settings_for("torchvision", CAFFE_BGR, config)[1]
    assert settings_for("timm", IMAGENET_RGB, config) == [
        "normalise images of 0..1 by mean=[0.485, 0.456, 0.406], std=[0.229, 0.224, 0.225]"
    ]


def test_a_code_that_does_not_normalise_is_known(network, tmp_path):
    online = {**under("encoder.", children(network)), "projetion.net.0.weight": torch.ones(2, 2)}
    report = convert_backbone(save({"online_network_state_dict": online}, tmp_path / "model.pth"), tmp_path / "out.pth")
    assert (report.mean, report.std, report.channel_order) == ((0, 0, 0), (255, 255, 255), "RGB")
    assert "sthalles" in report.normalisation_origin
    assert "mean [0, 0, 0], not [123.675, 116.28, 103.53]; std [255, 255, 255], not" in report.mismatch
    assert read_backbone(report.path).normalisation == dict(mean=[0, 0, 0], std=[255, 255, 255], channel_order="RGB")


def test_the_training_config_in_a_file_tells(network, tmp_path):
    text = Config(dict(
        default_scope="mmselfsup", model=dict(backbone=dict(type="ResNet", depth=18, out_indices=[4])),
        data_preprocessor=dict(mean=(103.53, 116.28, 123.675), std=(57.375, 57.12, 58.395), bgr_to_rgb=False),
    )).pretty_text  # fmt: skip
    file = save({"state_dict": under("backbone.", network), "meta": {"cfg": text}}, tmp_path / "epoch_200.pth")
    report = convert_backbone(file, tmp_path / "out.pth")
    assert (report.layout, report.channel_order) == ("mmpretrain", "BGR")
    assert report.normalisation_origin == "the config in the file"
    assert "channel order BGR, not RGB" in report.mismatch
    assert "mean [103.53" not in report.mismatch, "the numbers are the same, in the other order"

    text = text.replace("data_preprocessor", "img_norm_cfg").replace("bgr_to_rgb=False", "to_rgb=True")
    file = save({"state_dict": under("backbone.", network), "meta": {"cfg": text}}, tmp_path / "epoch_100.pth")
    assert convert_backbone(file, tmp_path / "out.pth").channel_order == "RGB"


def test_the_name_of_a_file_tells_caffes_weights(tmp_path):
    file = save(resnet(50).state_dict(), tmp_path / "resnet50_caffe-788b5fa3.pth")
    report = convert_backbone(file, tmp_path / "out.pth")
    assert (report.mean, report.std, report.channel_order) == (CAFFE_BGR.mean, CAFFE_BGR.std, "BGR")
    assert "says caffe" in report.normalisation_origin
    assert "model.backbone: style='caffe'" in report.settings
    assert read_backbone(report.path).config["style"] == "caffe"
    with pytest.raises(InputError, match=r"Caffe style.* in the first"):
        convert_backbone(file, tmp_path / "tv.pth", to="torchvision")
    stated = dict(mean=IMAGENET_RGB.mean, std=IMAGENET_RGB.std, channel_order="RGB")
    assert convert_backbone(file, tmp_path / "tv.pth", to="torchvision", **stated).mismatch is None


def test_where_nothing_tells_the_user_must(network, tmp_path):
    file = save({"model": under("online_network.encoder.", network)}, tmp_path / "byol.pth")
    with pytest.raises(InputError, match=r"nothing tells how images were normalised.*--mean 123\.675 116\.28"):
        convert_backbone(file, tmp_path / "out.pth")
    assert not (tmp_path / "out.pth").exists()
    file = save({"state_dict": network.state_dict(), "meta": {"mean": [0.5] * 3, "std": [0.25] * 3, "channel_order": "bgr"}},
                tmp_path / "told.pth")  # fmt: skip
    report = convert_backbone(file, tmp_path / "out.pth")
    assert (report.mean, report.channel_order, report.normalisation_origin) == ((127.5,) * 3, "BGR", "the file")
