import os
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.logging import HistoryBuffer
from mmengine.runner import CheckpointLoader
from mmengine.runner.checkpoint import load_from_local

from mmsscl.errors import InputError
from mmsscl.zoo.safe_load import install_safe_loader, is_remote, load_checkpoint, state_dict_of


class RunsCode:
    """What a hostile checkpoint holds: an object whose loading calls a function."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self):
        return os.mkdir, (str(self.target),)


class AsksForAttribute:
    """Reaches code through ``getattr``, which mmengine's allow-list permits."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self):
        return getattr, (HistoryBuffer, "__init__")


def test_reads_what_mmengine_saves(tmp_path):
    history = HistoryBuffer([0.5, 0.25], [1, 1])
    content = {
        "state_dict": {"weight": torch.arange(6.0).reshape(2, 3)},
        "message_hub": {"log_scalars": {"loss": history}, "runtime_info": {"lr": np.float64(0.1), "n": np.int64(3)}},
        "meta": {"cfg": "a = 1", "dataset_meta": {"palette": np.eye(2, dtype=np.uint8)}},
    }
    torch.save(content, tmp_path / "epoch_1.pth")
    loaded = load_checkpoint(tmp_path / "epoch_1.pth")
    assert torch.equal(loaded["state_dict"]["weight"], content["state_dict"]["weight"])
    assert loaded["message_hub"]["log_scalars"]["loss"].mean() == pytest.approx(0.375)
    assert loaded["message_hub"]["runtime_info"]["n"] == 3
    assert np.array_equal(loaded["meta"]["dataset_meta"]["palette"], np.eye(2))


@pytest.mark.parametrize("legacy", [False, True])
def test_code_in_a_file_is_refused_and_not_run(tmp_path, legacy):
    target = tmp_path / "made_by_the_file"
    torch.save(
        {"state_dict": {}, "meta": RunsCode(target)},
        tmp_path / "bad.pth",
        _use_new_zipfile_serialization=not legacy,
    )
    with pytest.raises(InputError, match="would run code") as error:
        load_checkpoint(tmp_path / "bad.pth")
    assert "mkdir" in str(error.value)
    assert not target.exists()


def test_plain_pickle_is_refused_and_not_run(tmp_path):
    target = tmp_path / "made_by_the_file"
    (tmp_path / "bad.pth").write_bytes(pickle.dumps({"state_dict": RunsCode(target)}))
    with pytest.raises(InputError):
        load_checkpoint(tmp_path / "bad.pth")
    assert not target.exists()


def test_getattr_serves_log_history_only(tmp_path):
    torch.save({"meta": AsksForAttribute(tmp_path)}, tmp_path / "bad.pth")
    with pytest.raises(InputError, match="attribute '__init__'"):
        load_checkpoint(tmp_path / "bad.pth")


def test_unreadable_files_name_file_and_remedy(tmp_path):
    (tmp_path / "text.pth").write_text("lr = 0.1\n")
    (tmp_path / "empty.pth").write_bytes(b"")
    (tmp_path / "image.pth").write_bytes(b"\xff\xd8\xff\xe0\x00\x10JFIF" + bytes(100))
    (tmp_path / "lfs.pth").write_text("version https://git-lfs.github.com/spec/v1\n")
    torch.save({"state_dict": {"a": torch.zeros(1000)}}, tmp_path / "whole.pth")
    (tmp_path / "torn.pth").write_bytes((tmp_path / "whole.pth").read_bytes()[:2000])
    torch.save([torch.zeros(1)], tmp_path / "list.pth")
    (tmp_path / "folder.pth").mkdir()
    expected = {
        "text.pth": "is a text file",
        "empty.pth": "is empty",
        "image.pth": "not a file of torch.save",
        "lfs.pth": "Git LFS pointer",
        "torn.pth": "probably torn",
        "list.pth": "holds a list",
        "folder.pth": "is a folder",
        "absent.pth": "no such file",
    }
    for name, message in expected.items():
        with pytest.raises(InputError, match=message) as error:
            load_checkpoint(tmp_path / name)
        assert str(tmp_path / name) in str(error.value)
    assert "whole.pth" in str(error.value), "an absent file's message offers its neighbours"


def test_state_dict_of_finds_tensors_and_cleans_names():
    weight = torch.ones(1)
    assert state_dict_of({"state_dict": {"module.a": weight}}, "f") == {"a": weight}
    assert state_dict_of({"model": {"_orig_mod.a": weight}}, "f") == {"a": weight}
    assert state_dict_of({"a": weight, "epoch": 3}, "f") == {"a": weight}
    with pytest.raises(InputError, match="holds no tensors"):
        state_dict_of({"epoch": 3}, "f")


def test_mmengine_reads_local_files_through_the_safe_loader(tmp_path):
    target = tmp_path / "made_by_the_file"
    torch.save({"state_dict": {}, "meta": RunsCode(target)}, tmp_path / "bad.pth")
    torch.save({"state_dict": {"a": torch.ones(2)}}, tmp_path / "good.pth")
    install_safe_loader()
    try:
        with pytest.raises(InputError):
            CheckpointLoader.load_checkpoint(str(tmp_path / "bad.pth"), map_location="cpu")
        loaded = CheckpointLoader.load_checkpoint(str(tmp_path / "good.pth"), map_location=torch.device("cpu"))
        moved = CheckpointLoader.load_checkpoint(str(tmp_path / "good.pth"), map_location="meta")
    finally:
        CheckpointLoader.register_scheme(prefixes="", loader=load_from_local, force=True)
    assert not target.exists()
    assert torch.equal(loaded["state_dict"]["a"], torch.ones(2))
    assert moved["state_dict"]["a"].device.type == "meta"


def test_addresses_are_left_to_mmengine():
    assert is_remote("https://example.org/a.pth")
    assert is_remote("torchvision://resnet50")
    assert not is_remote("work_dirs/http/a.pth")
