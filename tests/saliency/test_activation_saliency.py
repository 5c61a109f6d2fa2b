import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from mmsscl.errors import InputError
from mmsscl.registry import MODELS
from mmsscl.saliency.estimators import ActivationSaliency, SaliencyEstimator

READS = {torch.ops.aten._local_scalar_dense.default, torch.ops.aten.nonzero.default, torch.ops.aten.is_nonzero.default}
NAMES = ["ActivationSaliency", "ContrastiveCAM", "GeodesicSaliency", "SpectralSaliency"]


class ReadsForbidden(TorchDispatchMode):
    """Fails where a tensor's value decides something in Python: on a GPU the device would be waited for."""

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        assert function not in READS, str(function)
        return function(*args, **(kwargs or {}))


def test_the_map_is_the_sum_of_what_is_active():
    features = torch.randn(3, 6, 4, 5, generator=torch.Generator().manual_seed(0))
    estimated = ActivationSaliency().estimate(features)
    np.testing.assert_allclose(estimated.maps, np.maximum(features.numpy(), 0).sum(1), rtol=1e-5)
    assert estimated.trust.tolist() == [1, 1, 1]
    assert torch.equal(ActivationSaliency()(features), estimated.maps)


@pytest.mark.parametrize("name", NAMES)
def test_estimators_are_built_from_a_config(name):
    estimator = MODELS.build(dict(type=name))
    assert isinstance(estimator, SaliencyEstimator)
    assert not list(estimator.parameters())
    assert not estimator.state_dict()


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("shape", [(1, 8, 5, 4), (3, 2, 5, 4), (2, 4, 1, 1), (2, 4, 2, 7), (0, 4, 3, 3)])
@pytest.mark.parametrize("fill", ["random", "zero", "constant", "equal images", "huge", "tiny"])
def test_maps_are_finite_and_not_negative_whatever_the_features(name, shape, fill):
    features = torch.rand(shape, generator=torch.Generator().manual_seed(1))
    if fill == "zero":
        features = torch.zeros(shape)
    elif fill == "constant":
        features = features.mean((2, 3), keepdim=True).expand(shape)
    elif fill == "equal images" and len(features):
        features = features[:1].expand(shape)
    elif fill == "huge":
        features = features * 1e4
    elif fill == "tiny":
        features = features * 1e-4
    maps, trust = MODELS.build(dict(type=name)).estimate(features)
    assert maps.shape == (shape[0], *shape[2:])
    assert trust.shape == shape[:1]
    assert maps.isfinite().all()
    assert maps.ge(0).all()
    assert trust.ge(0).all()
    assert trust.le(1).all()


@pytest.mark.parametrize("name", NAMES)
def test_bfloat16_features_under_autocast_are_computed_in_float32(name):
    features = torch.rand(4, 8, 5, 5, generator=torch.Generator().manual_seed(2)).bfloat16()
    projector = torch.nn.Linear(8, 6)
    estimator = MODELS.build(dict(type=name))
    expected = estimator.estimate(features.float(), projector)
    with torch.autocast("cpu", torch.bfloat16):
        estimated = estimator.estimate(features, projector)
    assert estimated.maps.dtype == estimated.trust.dtype == torch.float32
    assert torch.equal(estimated.maps, expected.maps)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("context", [torch.enable_grad, torch.no_grad, torch.inference_mode])
def test_maps_are_detached_in_any_gradient_mode(name, context):
    projector = torch.nn.Linear(8, 6)
    with context():
        enabled = torch.is_grad_enabled()
        features = torch.rand(4, 8, 5, 5, generator=torch.Generator().manual_seed(3))
        features.requires_grad_(enabled)
        maps, trust = MODELS.build(dict(type=name)).estimate(features, projector)
        assert torch.is_grad_enabled() == enabled
    assert not maps.requires_grad
    assert not trust.requires_grad
    assert maps.amax() > 0
    assert features.grad is None
    assert projector.weight.grad is None


@pytest.mark.parametrize("name", NAMES)
def test_no_value_is_read_back_from_the_device(name):
    features = torch.rand(4, 8, 5, 5)
    with ReadsForbidden():
        assert MODELS.build(dict(type=name))(features, torch.nn.Linear(8, 6)).shape == (4, 5, 5)
        with pytest.raises(AssertionError, match="_local_scalar_dense"):
            features.amax().item()


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("shape", [(4, 8, 5), (4, 8, 0, 5), (4, 0, 5, 5)])
def test_features_of_another_shape_are_refused(name, shape):
    with pytest.raises(InputError, match=f"{name}: features of shape"):
        MODELS.build(dict(type=name))(torch.zeros(shape))
