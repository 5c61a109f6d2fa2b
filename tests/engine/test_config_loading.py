import pytest

from mmsscl.engine.config import load_config
from mmsscl.errors import InputError
from mmsscl.names import near_names

BASE = """
data_root = "photos/"
size = 224
model = dict(type="SCRL", backbone=dict(depth=50, init_cfg=None))
train_dataloader = dict(batch_size=4, dataset=dict(type="SceneImages", data_root=data_root, pipeline=[dict(size=size)]))
"""


@pytest.fixture
def base(tmp_path):
    file = tmp_path / "base.py"
    file.write_text(BASE)
    return file


def child(base, text):
    file = base.parent / "child.py"
    file.write_text(f'_base_ = ["./base.py"]\n{text}\n')
    return file


def test_variables_that_are_read_are_fine(base):
    config = load_config(child(base, "batch = 8\ntrain_dataloader = dict(batch_size=batch)"))
    assert config.train_dataloader.batch_size == 8
    assert load_config(child(base, "limit = _base_.size\nval_cfg = dict(limit=limit)")).val_cfg.limit == 224
    assert load_config(child(base, "val_cfg = dict(limit={{_base_.size}})")).val_cfg.limit == 224


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("train_dataloder = dict(batch_size=8)", r"child\.py, line 2.*'train_dataloder'.*Did you mean train_dataloader"),
        ("custom_hook = []", "Did you mean custom_hooks"),
        ('data_root = "mine/"', r"'data_root'.*has no effect.*variable of a base config"),
        ("lr = 0.1", "nothing reads the key 'lr'"),
    ],
)
def test_keys_without_effect_are_refused(base, text, message):
    with pytest.raises(InputError, match=message):
        load_config(child(base, text))


def test_inherited_files_may_offer_variables_but_not_misspell_keys(base):
    base.write_text(BASE + "unread_here = dict(a=1)\n")
    load_config(child(base, "val_cfg = _base_.unread_here"))
    load_config(child(base, ""))
    with pytest.raises(InputError, match=r"base\.py, line \d+: nothing reads the key 'unread_here'"):
        load_config(base)
    base.write_text(BASE + "custom_hook = []\n")
    with pytest.raises(InputError, match=r"base\.py, line \d+: .*Did you mean custom_hooks"):
        load_config(child(base, ""))


def test_syntax_error_names_file_and_line(base):
    base.write_text(BASE + "optim_wrapper = dict(\n")
    with pytest.raises(InputError, match=r"base\.py, line \d+: .*never closed"):
        load_config(child(base, ""))


def test_error_while_executing_names_file_and_line(base):
    with pytest.raises(InputError, match=r"child\.py, line 3: NameError: name 'undefined'"):
        load_config(child(base, "\nval_cfg = undefined"))


def test_absent_files_are_named(base, tmp_path):
    with pytest.raises(InputError, match=r"no such file.*base\.py"):
        load_config(tmp_path / "bas.py")
    with pytest.raises(InputError, match="is a folder"):
        load_config(tmp_path)
    broken = tmp_path / "broken.py"
    broken.write_text('_base_ = "./none.py"\n')
    with pytest.raises(InputError, match=r"_base_ names \./none\.py"):
        load_config(broken)


def test_options_change_nested_values_and_list_items(base):
    options = {"train_dataloader.batch_size": 2, "train_dataloader.dataset.pipeline.0.size": 96}
    config = load_config(base, options)
    assert config.train_dataloader.batch_size == 2
    assert config.train_dataloader.dataset.pipeline[0]["size"] == 96


def test_options_may_add_settings_below_what_is_there(base):
    options = {
        "model.backbone.frozen_stages": 1,
        "train_cfg.max_epochs": 3,
        "model.backbone.init_cfg": dict(type="Pretrained", checkpoint="a.pth"),
    }
    config = load_config(base, options)
    assert config.model.backbone.frozen_stages == 1
    assert config.train_cfg.max_epochs == 3
    assert config.model.backbone.init_cfg.checkpoint == "a.pth"


def test_a_checkpoint_alone_makes_an_init_cfg(base):
    config = load_config(base, {"model.backbone.init_cfg.checkpoint": "a.pth"})
    assert config.model.backbone.init_cfg == dict(type="Pretrained", checkpoint="a.pth")


@pytest.mark.parametrize(
    ("key", "message"),
    [
        ("train_dataloder.batch_size", "Did you mean train_dataloader"),
        ("train_dataloader.batchsize", "Did you mean batch_size"),
        ("model.backbone.depht", "Did you mean depth"),
        ("data_root", r"variable that .* has used already. Set train_dataloader.dataset.data_root instead"),
        ("train_dataloader.dataset.pipeline.3.size", "list of 1 items"),
        ("train_dataloader.batch_size.x", "has no key 'x'"),
        ("colour", "Keys of this config: model, train_dataloader"),
    ],
)
def test_options_without_effect_are_refused(base, key, message):
    value = "photos/" if key == "data_root" else 1
    with pytest.raises(InputError, match=message):
        load_config(base, {key: value})


def test_near_names_keep_the_spelling_of_the_known():
    assert near_names("resnet", ["ResNet", "ViT"]) == ["ResNet"]
    assert near_names("zebra", ["ResNet", "ViT"]) == []


def test_shipped_configs_are_found_outside_a_checkout(tmp_path, monkeypatch, capsys):
    installed = tmp_path / "site" / ".mim"
    (installed / "configs" / "scrl").mkdir(parents=True)
    (installed / "configs" / "base.py").write_text(BASE)
    (installed / "configs" / "scrl" / "shipped.py").write_text("_base_ = '../base.py'\nwork_dir = 'theirs'\n")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    monkeypatch.setattr("mmsscl.engine.config.INSTALLED", installed)
    logged = []
    monkeypatch.setattr("mmsscl.engine.config.print_log", lambda text, logger: logged.append(text))

    config = load_config("configs/scrl/shipped.py", {"train_dataloader.batch_size": 2})
    assert (config.work_dir, config.train_dataloader.batch_size, config.model.backbone.depth) == ("theirs", 2, 50)
    assert len(logged) == 1
    assert str(installed) in logged[0]
    with pytest.raises(InputError, match=r"configs/scrl/shiped\.py: no such file\. Did you mean scrl/shipped\.py"):
        load_config("configs/scrl/shiped.py")
    for unreachable in (tmp_path / "configs" / "base.py", "../configs/base.py"):
        with pytest.raises(InputError, match="no such file"):
            load_config(unreachable)

    (elsewhere / "configs" / "scrl").mkdir(parents=True)
    (elsewhere / "configs" / "scrl" / "shipped.py").write_text("work_dir = 'mine'\n")
    assert load_config("configs/scrl/shipped.py").work_dir == "mine"
    assert len(logged) == 1
