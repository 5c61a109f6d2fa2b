import torch

from mmsscl.zoo.key_difference import compare_keys, drop_pretrained_init


def test_keys_are_sorted_into_missing_unexpected_and_reshaped():
    own = {"a": torch.zeros(2), "b": torch.zeros(3), "c": torch.zeros(1)}
    state = {"b": torch.zeros(3), "c": torch.zeros(4), "d": torch.zeros(1)}
    difference = compare_keys(own, state)
    assert difference
    assert (difference.missing, difference.unexpected) == (["a"], ["d"])
    assert difference.describe() == (
        "1 missing in the file: a; 1 unexpected in the file: d; 1 of another shape: c (file (4,), model (1,))"
    )
    assert not compare_keys(own, own)


def test_long_lists_are_cut_and_further_kinds_listed():
    difference = compare_keys({f"k{i}": torch.zeros(1) for i in range(15)}, {})
    assert difference.describe().endswith("k11, ... (3 more)")
    assert compare_keys({}, {}).describe(with_other_values=["x"]) == "1 with other values: x"


def test_only_pretrained_initialisation_is_dropped_at_any_depth():
    model = {
        "init_cfg": {"type": "Xavier"},
        "backbone": {"init_cfg": {"type": "Pretrained", "checkpoint": "gone.pth"}},
        "heads": [{"init_cfg": {"type": "Pretrained", "checkpoint": "gone.pth"}}],
    }
    drop_pretrained_init(model)
    assert model == {"init_cfg": {"type": "Xavier"}, "backbone": {"init_cfg": None}, "heads": [{"init_cfg": None}]}
