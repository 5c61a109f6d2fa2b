import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmpretrain.models import ResNet
from PIL import Image
from torchvision.transforms import v2

from mmsscl.errors import InputError
from mmsscl.evaluation.feature_network import FeatureNetwork, load_feature_network, random_feature_network
from mmsscl.evaluation.features import CentreCrops, FeatureSettings, extract_features
from mmsscl.zoo.export import export_backbone
from tests.sample_runs import ROOT, write_backbone, write_checkpoint, write_photos

pytestmark = pytest.mark.usefixtures("one_thread")

MEAN, STD = [123.675, 116.28, 103.53], [58.395, 57.12, 57.375]


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    return write_checkpoint(tmp_path_factory.mktemp("run") / "epoch_1.pth")


@pytest.fixture
def images():
    return torch.randint(0, 256, (2, 3, 64, 96), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def by_hand(file, prefix, images, out_indices=(3,)):
    state = torch.load(file, weights_only=False)["state_dict"]
    backbone = ResNet(18, out_indices=out_indices)
    backbone.load_state_dict({k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)})
    backbone.eval()
    mean, std = (torch.tensor(values).reshape(3, 1, 1) for values in (MEAN, STD))
    with torch.no_grad():
        return backbone((images.float() - mean) / std)[-1]


def test_features_of_a_training_checkpoint_are_those_of_its_branches(checkpoint, images):
    for branch, prefix in (("online", "backbone."), ("target", "target.backbone."), (None, "backbone.")):
        network = load_feature_network(checkpoint, branch)
        wanted = by_hand(checkpoint, prefix, images)
        torch.testing.assert_close(network.maps(images), wanted)
        torch.testing.assert_close(network(images), wanted.mean((2, 3)))
    assert network.stride == 32
    assert not any(parameter.requires_grad for parameter in network.parameters())
    network.train()
    assert not network.backbone.training


def test_an_exported_backbone_gives_the_same(checkpoint, images, tmp_path):
    export_backbone(checkpoint, tmp_path / "backbone.pth", branch="target")
    network = load_feature_network(tmp_path / "backbone.pth")
    torch.testing.assert_close(network.maps(images), by_hand(checkpoint, "target.backbone.", images))
    assert network.sha256 != load_feature_network(checkpoint).sha256
    with pytest.raises(InputError, match="holds the target branch only"):
        load_feature_network(tmp_path / "backbone.pth", "online")


@pytest.mark.parametrize("stage", [0, 1, 2, 3])
def test_any_stage(checkpoint, images, stage):
    network = load_feature_network(checkpoint, stage=stage)
    torch.testing.assert_close(network.maps(images), by_hand(checkpoint, "backbone.", images, (stage,)))
    assert network.stride == 4 * 2**stage


def test_any_weights_with_a_config(tmp_path, images):
    file = write_backbone(tmp_path / "weights.pth")
    state = torch.load(file, weights_only=True)["state_dict"]
    torch.save({"state_dict": {f"backbone.{key}": value for key, value in state.items()}}, tmp_path / "other.pth")
    config = tmp_path / "config.py"
    Config(dict(
        model=dict(backbone=dict(type="mmpretrain.ResNet", depth=18)), default_scope="mmsscl",
        data_preprocessor=dict(mean=MEAN, std=STD, to_rgb=True),
    )).dump(config)  # fmt: skip
    for name in ("weights.pth", "other.pth"):
        network = load_feature_network(tmp_path / name, config=config)
        backbone = ResNet(18)
        backbone.load_state_dict(state)
        backbone.eval()
        mean, std = (torch.tensor(values).reshape(3, 1, 1) for values in (MEAN, STD))
        with torch.no_grad():
            wanted = backbone((images.float() - mean) / std)[-1]
        torch.testing.assert_close(network.maps(images), wanted)
    with pytest.raises(InputError, match=r"other\.pth: holds no training config"):
        load_feature_network(tmp_path / "other.pth")
    with pytest.raises(InputError, match=r"is not of this backbone \(.*--config"):
        load_feature_network(write_backbone(tmp_path / "r34.pth", 34), config=config)
    with pytest.raises(InputError, match="no branches"):
        load_feature_network(tmp_path / "other.pth", "target", config)
    with pytest.raises(InputError, match=r"has no model\.backbone"):
        load_feature_network(tmp_path / "other.pth", config=ROOT / "configs/_base_/default_runtime.py")


def test_blue_first_backbones_get_blue_first(checkpoint, images):
    network = load_feature_network(checkpoint)
    turned = FeatureNetwork(network.backbone, MEAN[::-1], STD[::-1], "BGR", "turned", "0")
    first = dict(network.backbone.named_parameters())["conv1.weight"]
    with torch.no_grad():
        wanted = network.maps(images)
        first.copy_(first.flip(1))
        torch.testing.assert_close(turned.maps(images), wanted, rtol=1e-4, atol=1e-4)


def test_a_stage_that_is_not_there_is_told(checkpoint):
    for stage in (4, -7):
        with pytest.raises(InputError, match=rf"epoch_1\.pth: its backbone .*ResNet cannot be built for --stage {stage}"):
            load_feature_network(checkpoint, stage=stage)


def test_random_weights_follow_their_seed(checkpoint, images):
    one, again, other = (random_feature_network(checkpoint, seed) for seed in (7, 7, 8))
    torch.testing.assert_close(one(images), again(images), rtol=0, atol=0)
    assert not torch.allclose(one(images), other(images))
    assert not torch.allclose(one(images), load_feature_network(checkpoint)(images))
    assert len({one.sha256, other.sha256, load_feature_network(checkpoint).sha256}) == 3
    before = torch.random.get_rng_state()
    random_feature_network(checkpoint, 3)
    assert torch.equal(before, torch.random.get_rng_state())


@pytest.mark.parametrize("shape", [(40, 60), (60, 40), (64, 64), (20, 90)])
def test_photos_are_cut_as_torchvision_does(tmp_path, shape):
    pixels = np.random.default_rng(0).integers(0, 256, (*shape, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    found = CentreCrops([str(tmp_path / "a.png")], FeatureSettings(32, 36))[0]
    wanted = v2.Compose([v2.Resize(36, v2.InterpolationMode.BICUBIC, antialias=True), v2.CenterCrop(32)])
    expected = wanted(torch.from_numpy(pixels).permute(2, 0, 1))
    assert found.shape == (3, 32, 32)
    assert (found.int() - expected.int()).abs().max() <= 1
    assert CentreCrops([str(tmp_path / "a.png")], FeatureSettings(28))[0].shape == (3, 28, 28)


@pytest.fixture
def photos(tmp_path):
    folder = write_photos(tmp_path / "photos", 7, 40)
    return [str(path) for path in sorted(folder.iterdir())]


def test_features_do_not_depend_on_batches_or_workers(checkpoint, photos):
    network, settings = load_feature_network(checkpoint), FeatureSettings(32)
    wanted = torch.stack([network(CentreCrops(photos, settings)[index][None])[0] for index in range(7)]).numpy()
    for options in ({"batch_size": 3}, {"batch_size": 64}, {"batch_size": 2, "num_workers": 1}):
        found = extract_features(network, photos, settings, **options)
        assert found.dtype == np.float32
        np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-5)
    mirrored = extract_features(network, photos, FeatureSettings(32, mirror=True))
    images = torch.stack([CentreCrops(photos, settings)[index] for index in range(7)])
    np.testing.assert_allclose(mirrored, ((network(images) + network(images.flip(-1))) / 2).numpy(), rtol=1e-4, atol=1e-5)


class Counting(FeatureNetwork):
    calls = 0

    def forward(self, images):
        Counting.calls += 1
        return super().forward(images)


def test_the_cache_is_of_this_checkpoint_these_photos_and_settings(checkpoint, photos, tmp_path):
    backbone = load_feature_network(checkpoint).backbone

    def network(sha256="a" * 64, stage=None):
        return Counting(backbone, MEAN, STD, "RGB", "n", sha256, stage)

    def calls(network, paths=photos, size=32):
        Counting.calls = 0
        found = extract_features(network, paths, FeatureSettings(size), cache)
        assert found.shape == (len(paths), 512)
        return Counting.calls, found

    cache = tmp_path / "cache"
    first, wanted = calls(network())
    assert first == 1
    again, found = calls(network())
    assert again == 0
    np.testing.assert_array_equal(found, wanted)
    assert calls(network("b" * 64))[0] == 1, "another checkpoint"
    assert calls(network(stage=2))[0] == 1, "another stage"
    assert calls(network(), size=40)[0] == 1, "another size"
    assert calls(network(), paths=photos[:5])[0] == 1, "fewer photos"
    assert calls(network(), paths=photos[::-1])[0] == 1, "another order"
    Image.new("RGB", (50, 50)).save(photos[0])
    assert calls(network())[0] == 1, "a photo has changed"
    assert calls(network())[0] == 0


@pytest.mark.parametrize("fault", ["cut", "another's", "other photos", "text"])
def test_a_faulty_cache_is_told(checkpoint, photos, tmp_path, fault):
    network, cache = load_feature_network(checkpoint), tmp_path / "cache"
    extract_features(network, photos, FeatureSettings(32), cache)
    (file,) = cache.iterdir()
    with np.load(file) as content:
        features, key = content["features"], content["key"]
    if fault == "another's":
        np.savez(file, features=features, key=np.frombuffer(b"{}", np.uint8))
    elif fault == "other photos":
        np.savez(file, features=features[:3], key=key)
    else:
        file.write_bytes(file.read_bytes()[:200] if fault == "cut" else b"text")
    with pytest.raises(InputError, match=rf"{file.name}: .*Delete it"):
        extract_features(network, photos, FeatureSettings(32), cache)


def test_features_that_are_not_finite_name_the_photo(checkpoint, photos):
    network = load_feature_network(checkpoint)
    black = photos[5]
    Image.new("RGB", (40, 40)).save(black, quality=100)

    class Diverged(FeatureNetwork):
        def maps(self, images):
            return torch.where((images.float().mean((1, 2, 3)) < 3)[:, None, None, None], torch.nan, super().maps(images))

    broken = Diverged(network.backbone, MEAN, STD, "RGB", "epoch_9.pth", "0")
    with pytest.raises(InputError, match=rf"epoch_9\.pth: its features of {black} are not finite.*earlier checkpoint"):
        extract_features(broken, photos, FeatureSettings(32), batch_size=2)


def test_photos_and_sizes_that_cannot_be_used_are_told(checkpoint, photos, tmp_path):
    network = load_feature_network(checkpoint)
    with pytest.raises(InputError, match="no photos"):
        extract_features(network, [])
    with pytest.raises(InputError, match="a short side of at least the size"):
        FeatureSettings(64, 32)
    for cache in (None, tmp_path / "cache"):
        with pytest.raises(InputError, match=r"gone\.jpg: .*(absent|cannot be read)"):
            extract_features(network, [*photos, str(tmp_path / "gone.jpg")], FeatureSettings(32), cache)
    with pytest.raises(InputError, match="cannot be kept there"):
        extract_features(network, photos, FeatureSettings(32), tmp_path / "photos/0.jpg/cache")
