"""How images must be normalised is told, and what differs from a library's own configs is named."""

from dataclasses import replace

import pytest
import torch
import torchvision
from mmengine.config import Config

from mmsscl.errors import InputError
from mmsscl.zoo.convert import convert_backbone
from mmsscl.zoo.normalisation import (
    CAFFE_BGR,
    IMAGENET_RGB,
    UNIT_RGB,
    Normalisation,
    mismatch,
    settings_for,
    stated_normalisation,
)  # fmt: skip
from mmsscl.zoo.read_backbone import read_backbone
from tests.sample_backbones import children, save, shapes, under
from tests.sample_runs import write_checkpoint


@pytest.fixture(scope="module")
def network():
    """Without numbers of its own: what is written is small."""
    with torch.device("meta"):
        found = torchvision.models.resnet18(weights=None)
    found.load_state_dict(shapes(lambda: torchvision.models.resnet18(weights=None)), assign=True)
    return found


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
        (dict(pixel_range=256), "--pixel-range 256: give 1"),
        (dict(pixel_range=1), "says what --mean and --std are of"),
        (dict(mean=(1, 2, 3), std=(1, float("nan"), 3)), "give three numbers"),
        (dict(mean=(float("inf"), 2, 3), std=(1, 2, 3)), "give three numbers"),
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
    turned = replace(IMAGENET_RGB, channel_order="BGR")
    assert "mean [123.675, 116.28, 103.53], in the order BGR" in mismatch("mmdet", turned)
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
    assert read_backbone(report.path).told.normalisation.same(UNIT_RGB)


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


CAFFE = "dict(mean=[103.53, 116.28, 123.675], std=[1.0, 1.0, 1.0], to_rgb=False)"
UNIT = "dict(mean=[0.485, 0.456, 0.406], std=[0.229, 0.224, 0.225])"


@pytest.mark.parametrize(
    ("numbers", "known", "remark"), [(CAFFE, CAFFE_BGR, ""), (UNIT, IMAGENET_RGB, "RGB, as mmselfsup's PIL")]
)
def test_a_runner_of_mmcv_1_kept_its_config_under_another_key(network, tmp_path, numbers, known, remark):
    # the text as mmdet 2.x and mmselfsup 0.x wrote it; neither had a default_scope
    text = (
        "model = dict(type='BYOL', base_momentum=0.99, backbone=dict(type='ResNet', depth=18, in_channels=3, "
        f"out_indices=[4], norm_cfg=dict(type='SyncBN')))\nimg_norm_cfg = {numbers}\ncheckpoint_config = dict(interval=10)\n"
    )
    content = {"state_dict": under("backbone.", network), "meta": {"epoch": 200, "config": text}}
    report = convert_backbone(save(content, tmp_path / "epoch_200.pth"), tmp_path / "out.pth")
    found = Normalisation(report.mean, report.std, report.channel_order)
    assert found.same(known), found
    assert report.normalisation_origin == "the config in the file"
    assert remark in " ".join(report.remarks)


@pytest.mark.parametrize("scope", ["default_scope = 'mmsscl'\n", "", "default_scope = 'mmdet'\n"])
@pytest.mark.parametrize("layout", [None, "mmpretrain", "mmselfsup"])
def test_our_own_checkpoints_are_rgb_however_they_are_read(tmp_path, checkpoint, scope, layout):
    meta = {**checkpoint["meta"], "cfg": checkpoint["meta"]["cfg"].replace("default_scope = 'mmsscl'\n", scope)}
    assert scope in meta["cfg"]
    report = convert_backbone(save({**checkpoint, "meta": meta}, tmp_path / "in.pth"), tmp_path / "out.pth", layout=layout)
    assert (report.channel_order, report.mismatch) == ("RGB", None)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    content = torch.load(write_checkpoint(tmp_path_factory.mktemp("own") / "epoch_1.pth"), weights_only=True)
    state = {name: torch.zeros(()).expand(value.shape) for name, value in content["state_dict"].items()}
    return {"state_dict": state, "meta": content["meta"]}


STATED = dict(mean=IMAGENET_RGB.mean, std=IMAGENET_RGB.std, channel_order="RGB")
PRETRAINED = "model = dict(type='ImageClassifier', backbone=dict(type='ResNet', depth=18))\n"


@pytest.mark.parametrize(
    ("meta", "message"),
    [
        (dict(mean="abc", std="def", channel_order="RGB"), "meta.mean 'abc': give three numbers"),
        (dict(mean=None, std=None, channel_order="RGB"), "meta.mean None: give three numbers"),
        (dict(mean=[1, 2, float("nan")], std=[1, 2, 3], channel_order="RGB"), "meta.mean .*: give three numbers"),
        (dict(mean=[1, 2, 3], std=[1, 2, 3], channel_order="GBR"), "meta.channel_order is 'GBR', neither RGB nor BGR"),
        (dict(mean=[0, 0, 0], std=[1, 1, 1], channel_order="RGB"), "fits pixels from 0 to 1 and from 0 to 255"),
        (dict(cfg=f"default_scope = 'mmpretrain'\n{PRETRAINED}data_preprocessor = dict(num_classes=10)\n"),
         "has no data_preprocessor with mean and std"),
    ],
)  # fmt: skip
def test_what_a_file_says_badly_its_user_can_say(network, tmp_path, meta, message):
    state = {name: value for name, value in under("backbone.", network).items() if ".fc." not in name}
    file = save({"state_dict": state, "meta": meta}, tmp_path / "told.pth")
    with pytest.raises(InputError, match=f"{message}.* Say it: --mean"):
        convert_backbone(file, tmp_path / "out.pth")
    assert convert_backbone(file, tmp_path / "out.pth", **STATED).mismatch is None
    assert read_backbone(tmp_path / "out.pth").told.normalisation.same(IMAGENET_RGB)


def test_our_files_are_of_0_to_255_however_small_their_numbers(network, tmp_path):
    numbers = dict(mean=(0, 0, 0), std=(1, 1, 1), channel_order="RGB", pixel_range=255)
    report = convert_backbone(save(network.state_dict(), tmp_path / "tv.pth"), tmp_path / "out.pth", **numbers)
    assert convert_backbone(report.path, tmp_path / "d2.pth", to="detectron2").std == (1, 1, 1)


def test_the_name_of_a_file_tells_caffes_weights(tmp_path):
    file = save(shapes(lambda: torchvision.models.resnet50(weights=None)), tmp_path / "resnet50_caffe-788b5fa3.pth")
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
