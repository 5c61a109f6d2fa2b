import logging
from types import SimpleNamespace

import pytest
import torch
from mmengine.model import BaseModel

from mmsscl.engine.hooks import BackboneWeightsHook
from mmsscl.errors import InputError
from mmsscl.registry import HOOKS, MODELS
from tests.sample_runs import write_backbone


class Detector(BaseModel):
    """A model with a backbone and mmdet's kind of preprocessor."""

    def __init__(self, init_cfg, depth=18, mean=(123.675, 116.28, 103.53), bgr_to_rgb=True):
        super().__init__(
            data_preprocessor=dict(
                type="ImgDataPreprocessor", mean=list(mean), std=[58.395, 57.12, 57.375], bgr_to_rgb=bgr_to_rgb
            )
        )
        self.backbone = MODELS.build(dict(type="mmpretrain.ResNet", depth=depth, init_cfg=init_cfg))

    def forward(self, inputs):
        return self.backbone(inputs)


def run(hook, model, iteration=0, load_from=None):
    runner = SimpleNamespace(model=model, iter=iteration, _load_from=load_from, logger=logging.getLogger("hook test"))
    hook.before_train(runner)


def pretrained(file):
    return dict(type="Pretrained", checkpoint=str(file))


@pytest.fixture
def backbone_file(tmp_path):
    return write_backbone(tmp_path / "backbone.pth")


def loaded(file, **options):
    model = Detector(pretrained(file), **options)
    model.init_weights()
    return model


def test_registered_under_its_scope():
    assert HOOKS.get("mmsscl.BackboneWeightsHook") is BackboneWeightsHook


def test_filled_backbone_passes_and_counts_everything(backbone_file, caplog):
    with caplog.at_level(logging.INFO):
        run(BackboneWeightsHook(), loaded(backbone_file))
    assert "all 120 parameters and buffers" in caplog.text


def test_weights_that_were_never_loaded_stop_the_run(backbone_file):
    model = Detector(pretrained(backbone_file))
    for parameter in model.parameters():
        parameter.data += 1
    with pytest.raises(InputError, match=r"60 with other values.*conv1\.weight"):
        run(BackboneWeightsHook(), model)


@pytest.mark.parametrize("name", ["layer3.1.conv2.weight", "bn1.running_var", "layer4.0.bn1.num_batches_tracked"])
def test_one_changed_value_is_found(backbone_file, name):
    model = loaded(backbone_file)
    model.backbone.state_dict()[name].view(-1)[-1] += 1
    with pytest.raises(InputError, match="1 with other values") as error:
        run(BackboneWeightsHook(), model)
    assert name in str(error.value)


def edit(file, change):
    content = torch.load(file, weights_only=True)
    change(content)
    torch.save(content, file)


def test_missing_unexpected_and_misshaped_keys_are_listed(backbone_file):
    def change(content):
        state = content["state_dict"]
        state["fc.weight"] = torch.zeros(2, 512)
        del state["layer1.0.bn1.running_mean"]
        state["conv1.weight"] = torch.zeros(64, 1, 7, 7)

    model = loaded(backbone_file)
    edit(backbone_file, change)
    with pytest.raises(InputError) as error:
        run(BackboneWeightsHook(), model)
    message = str(error.value)
    assert "1 missing in the file: layer1.0.bn1.running_mean" in message
    assert "1 unexpected in the file: fc.weight" in message
    assert "conv1.weight (file (64, 1, 7, 7), model (64, 3, 7, 7))" in message
    assert str(backbone_file) in message
    assert "allow_missing" in message


def test_listed_patterns_are_the_only_exceptions(backbone_file):
    def change(content):
        content["state_dict"]["fc.weight"] = torch.zeros(2, 512)
        del content["state_dict"]["layer4.1.bn2.num_batches_tracked"]

    model = loaded(backbone_file)
    edit(backbone_file, change)
    with pytest.raises(InputError, match="unexpected"):
        run(BackboneWeightsHook(allow_missing=[r"num_batches_tracked$"]), model)
    with pytest.raises(InputError, match="missing"):
        run(BackboneWeightsHook(allow_unexpected=[r"^fc\."]), model)
    run(BackboneWeightsHook(allow_missing=[r"num_batches_tracked$"], allow_unexpected=[r"^fc\."]), model)


def test_another_architecture_is_refused(tmp_path):
    file = write_backbone(tmp_path / "r34.pth", depth=34)
    model = Detector(pretrained(file))
    model.init_weights()
    with pytest.raises(InputError, match=r"unexpected in the file.*layer1\.2"):
        run(BackboneWeightsHook(), model)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (dict(bgr_to_rgb=False), "channel order BGR instead of RGB"),
        (dict(mean=(103.53, 116.28, 123.675)), "mean"),
    ],
)
def test_other_normalisation_than_in_pretraining_is_refused(backbone_file, options, message):
    with pytest.raises(InputError, match=message):
        run(BackboneWeightsHook(), loaded(backbone_file, **options))


def test_random_weights_only_on_request():
    with pytest.raises(InputError, match="allow_random"):
        run(BackboneWeightsHook(), Detector(None))
    run(BackboneWeightsHook(allow_random=True), Detector(None))


def test_resumed_run_is_left_alone(tmp_path):
    run(BackboneWeightsHook(), Detector(pretrained(tmp_path / "gone.pth")), iteration=5)


def test_load_from_is_what_the_backbone_is_compared_with(tmp_path, backbone_file):
    model = loaded(backbone_file)
    torch.save(dict(state_dict=model.state_dict()), tmp_path / "detector.pth")
    run(BackboneWeightsHook(), model, load_from=tmp_path / "detector.pth")
    model.backbone.conv1.weight.data += 1
    with pytest.raises(InputError, match=r"conv1\.weight"):
        run(BackboneWeightsHook(), model, load_from=tmp_path / "detector.pth")


def test_unknown_path_names_the_models_parts(backbone_file):
    with pytest.raises(InputError, match=r"data_preprocessor, backbone"):
        run(BackboneWeightsHook(path="encoder"), loaded(backbone_file))


class SplitDetector(Detector):
    """layer4 stands elsewhere, with a norm of its own, as in a C4 detector."""

    def __init__(self, file):
        super().__init__(pretrained(file))
        self.init_weights()
        self.head = torch.nn.Module()
        self.head.layer4 = self.backbone.layer4
        self.head.norm = torch.nn.BatchNorm2d(512)
        del self.backbone.layer4


def split_hook(**options):
    return BackboneWeightsHook(more_paths=["head"], allow_missing=[r"^norm\."], **options)


def test_parts_that_one_file_fills_are_compared_together(backbone_file, caplog):
    model = SplitDetector(backbone_file)
    with caplog.at_level(logging.INFO):
        run(split_hook(), model)
    assert "all 120 parameters and buffers" in caplog.text
    with pytest.raises(InputError, match=r"unexpected in the file: layer4\.0"):
        run(BackboneWeightsHook(), model)
    with pytest.raises(InputError, match=r"5 missing in the file: norm\.weight"):
        run(BackboneWeightsHook(more_paths=["head"]), model)
    model.head.layer4[1].conv2.weight.data += 1
    with pytest.raises(InputError, match=r"ResNet \+ Module .* 1 with other values than the file: layer4\.1\.conv2\.weight"):
        run(split_hook(), model)


def test_parts_are_compared_with_load_from_under_their_own_names(tmp_path, backbone_file):
    model = SplitDetector(backbone_file)
    torch.save(dict(state_dict=model.state_dict()), tmp_path / "detector.pth")
    run(split_hook(), model, load_from=tmp_path / "detector.pth")
    model.head.norm.bias.data += 1
    with pytest.raises(InputError, match=r"under 'backbone\.' and 'head\.'.* norm\.bias"):
        run(split_hook(), model, load_from=tmp_path / "detector.pth")


def test_parts_that_cannot_be_of_one_backbone_are_named(backbone_file):
    model = loaded(backbone_file)
    with pytest.raises(InputError, match="has no 'neck'"):
        run(BackboneWeightsHook(more_paths=["neck"]), model)
    with pytest.raises(InputError, match=r"layer1\.0 and another of its paths both have 'bn1\.bias'"):
        run(BackboneWeightsHook(more_paths=["backbone.layer1.0"]), model)
