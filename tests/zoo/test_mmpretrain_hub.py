"""mmpretrain lists our models, builds them, and fills them from files that were checked."""
import sys
import types

import pytest
import torch
from mmpretrain import get_model, list_models
from mmpretrain.apis.model import ModelHub

from mmsscl.errors import InputError
from mmsscl.zoo import register_models
from mmsscl.zoo.cache import own_zoo
from mmsscl.zoo.catalogue import all_entries
from mmsscl.zoo.publish import publish


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """mmpretrain's hub as it was before, and a cache of our own."""
    monkeypatch.setenv("MMSSCL_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("MMSSCL_ZOO", raising=False)
    list_models()
    before = dict(ModelHub._models_dict)
    yield
    ModelHub._models_dict.clear()
    ModelHub._models_dict.update(before)


@pytest.fixture
def published(hub, exported):
    publish(exported.online, "scrl_r18_toy")
    return torch.load(exported.online, weights_only=True)["state_dict"]


def test_all_entries_are_listed_beside_mmpretrains(hub):
    others = set(list_models())
    assert not [name for name in others if "sgcl" in name]
    names = register_models()
    assert set(names) == set(all_entries(print))
    assert set(list_models()) == others | {name.lower() for name in names}
    assert list_models("scrl_r50_3rdparty") == ["scrl_r50_3rdparty-1000e_in1k", "scrl_r50_3rdparty-200e_in1k"]
    assert "scrl_r50_3rdparty-200e_in1k" in list_models(task="Object Detection")
    assert register_models() == names
    assert get_model("resnet18_8xb32_in1k").backbone.depth == 18


def test_a_recipe_is_built_whole_in_our_scope(hub):
    register_models()
    model = get_model("sgcl_r18_scenes")
    assert type(model).__module__.startswith("mmsscl.models")
    assert type(model).__name__ == "SGCL"
    assert model._metainfo.in_collection == "SGCL"
    assert model._metainfo.metadata.epochs == 12


def test_weights_fill_the_backbone_and_the_target(published):
    register_models()
    model = get_model("scrl_r18_toy", pretrained=True)
    for backbone in (model.backbone, model.target["backbone"]):
        state = backbone.state_dict()
        assert state.keys() == published.keys()
        assert all(torch.equal(value, published[name]) for name, value in state.items())


def test_a_file_that_was_changed_is_not_loaded(published):
    register_models()
    (file,) = own_zoo().glob("*.pth")
    file.write_bytes(b"damaged")
    with pytest.raises(InputError, match="is not the file that was published"):
        get_model("scrl_r18_toy", pretrained=True)


def test_others_backbones_are_networks_for_features(hub, monkeypatch):
    register_models()
    with pytest.raises(InputError, match=r"nobody here knows the hash"):
        get_model("scrl_r50_3rdparty-200e_in1k", pretrained=True)
    model = get_model("scrl_r50_3rdparty-200e_in1k")
    assert type(model).__name__ == "ImageClassifier"
    (features,) = model.extract_feat(torch.zeros(1, 3, 64, 64))
    assert features.shape == (1, 2048)
    bgr = torch.tensor([10, 20, 30], dtype=torch.uint8).reshape(3, 1, 1).expand(3, 4, 4)
    normalised = model.data_preprocessor(dict(inputs=[bgr]))["inputs"][0, :, 0, 0]
    mean, std = torch.tensor([123.675, 116.28, 103.53]), torch.tensor([58.395, 57.12, 57.375])
    assert torch.allclose(normalised, (torch.tensor([30.0, 20.0, 10.0]) - mean) / std)


def test_an_entry_without_config_says_why_it_is_not_built(hub, tmp_path):
    own_zoo().mkdir(parents=True)
    (own_zoo() / "model-index.yml").write_text(
        "Models:\n- {Name: bare, Weights: a.pth}\n- {Name: elsewhere, Weights: b.pth, Config: configs/none.py}"
    )
    register_models()
    with pytest.raises(InputError, match=r"bare: cannot be built, because .*names no config.*zoo show bare"):
        get_model("bare")
    with pytest.raises(InputError, match=r"configs/none.py, which is not installed"):
        get_model("elsewhere")


def test_a_name_of_mmpretrains_is_refused(hub):
    own_zoo().mkdir(parents=True)
    (own_zoo() / "model-index.yml").write_text("Models: [{Name: ResNet18_8xb32_in1k, Built By: make}]")
    with pytest.raises(InputError, match="mmpretrain has a model named ResNet18_8xb32_in1k"):
        register_models()


def test_names_that_differ_by_case_only_are_refused(hub):
    own_zoo().mkdir(parents=True)
    (own_zoo() / "model-index.yml").write_text("Models: [{Name: Foo, Built By: make}, {Name: foo, Built By: make}]")
    with pytest.raises(InputError, match="foo and Foo are one name to mmpretrain"):
        register_models()


def test_the_package_gives_it_lazily():
    import mmsscl.zoo

    assert isinstance(sys.modules["mmsscl.zoo"], types.ModuleType)
    assert mmsscl.zoo.register_models is register_models
    with pytest.raises(AttributeError, match="no attribute 'models'"):
        mmsscl.zoo.models  # noqa: B018
