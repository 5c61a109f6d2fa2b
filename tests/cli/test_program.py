import os
import runpy
import subprocess
import sys

import cv2
import numpy as np
import pytest
import torch

from mmsscl import cli
from mmsscl.cli.program import VERBS
from mmsscl.datasets import SceneImages
from mmsscl.errors import InputError
from tests.sample_runs import NARROW, ROOT, write_checkpoint, write_pretraining_config


def run_tool(*arguments, cwd=None):
    environment = dict(os.environ, OMP_NUM_THREADS="1")
    return subprocess.run([sys.executable, *map(str, arguments)], capture_output=True, text=True, cwd=cwd, env=environment)


SUB_VERBS = {
    "browse": ["pairs", "saliency"], "eval": ["knn", "linear", "svm", "regions", "saliency"], "bench": ["run", "table"],
    "doctor": ["data"], "shards": ["write", "index"], "zoo": ["list", "show", "download", "verify", "add"],
}  # fmt: skip
COMMANDS = [*VERBS, *(f"{verb} {sub}" for verb, subs in SUB_VERBS.items() for sub in subs)]


@pytest.mark.parametrize("command", COMMANDS)
def test_help_of_every_verb_shows_an_example(command, capsys):
    with pytest.raises(SystemExit) as stop:
        cli.main([*command.split(), "--help"])
    assert stop.value.code == 0
    said = capsys.readouterr().out
    assert f"mmsscl {command}" in said.rsplit("\nexample", 1)[1]
    for sub in SUB_VERBS.get(command, []):
        assert f"\n    {sub} " in said


@pytest.mark.parametrize("verb", ["browse", "eval", "bench", "shards", "zoo"])
def test_a_verb_that_lacks_its_second_word_says_which_there_are(verb, capsys):
    for words in ([verb], [verb, "nonsense"]):
        with pytest.raises(SystemExit) as stop:
            cli.main(words)
        assert stop.value.code == 2
        assert "WHAT" in capsys.readouterr().err


def test_every_part_of_the_command_line_is_a_verb_or_shared():
    files = {path.stem for path in (ROOT / "mmsscl/cli").glob("*.py")}
    assert files == {*VERBS, "__init__", "__main__", "program", "verb_parser", "common_arguments"}


@pytest.mark.parametrize("tool", sorted(path.stem for path in (ROOT / "tools").glob("*.py") if path.stem != "quickstart"))
def test_a_tool_is_its_verb(tool, monkeypatch):
    others = {"export_backbone": ["export"], **{name: ["eval", name] for name in ("knn", "linear", "svm")}}
    words, called = others.get(tool, tool.split("_")), []
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(cli, "main", lambda words: called.append(words) or 3)
    monkeypatch.setattr(sys, "argv", [tool, "one", "--two"])
    with pytest.raises(SystemExit) as stop:
        runpy.run_path(str(ROOT / "tools" / f"{tool}.py"), run_name="__main__")
    assert (stop.value.code, called) == (3, [[*words, "one", "--two"]])
    assert " ".join(words) in COMMANDS


def test_help_lists_the_verbs_without_heavy_imports():
    code = "import sys; from mmsscl.cli import main\ntry: main(['--help'])\nexcept SystemExit: pass\n" \
        "print(sorted({'torch', 'mmcv', 'mmdet'} & set(sys.modules)))"  # fmt: skip
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert result.returncode == 0, result.stderr
    for verb in VERBS:
        assert verb in result.stdout
    assert result.stdout.rstrip().endswith("[]")


def test_no_verb_prints_help(capsys):
    assert cli.main([]) == 2
    assert "VERB" in capsys.readouterr().out


def test_bad_input_prints_one_line_and_exits_with_2(tmp_path, capsys):
    assert cli.main(["train", str(tmp_path / "none.py")]) == 2
    assert cli.main(["export", str(tmp_path / "none.pth"), str(tmp_path / "out.pth")]) == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 2
    assert all(line.startswith("error: ") and str(tmp_path) in line for line in lines)


def test_other_errors_keep_their_traceback(monkeypatch):
    import mmsscl.zoo.convert

    def fail(*arguments, **options):
        raise RuntimeError("a bug")

    monkeypatch.setattr(mmsscl.zoo.convert, "convert_backbone", fail)
    with pytest.raises(RuntimeError, match="a bug"):
        cli.main(["export", "a", "b"])


def test_export_prints_keys_and_digest(tmp_path, capsys):
    source = write_checkpoint(tmp_path / "epoch_1.pth")
    assert cli.main(["export", str(source), str(tmp_path / "backbone.pth"), "--branch", "target"]) == 0
    assert "120 of 120 keys, sha256 " in capsys.readouterr().out


def test_train_reads_every_option(monkeypatch):
    import mmsscl.engine.train

    seen = {}
    monkeypatch.setattr(mmsscl.engine.train, "train", lambda config, **options: seen.update(config=config, **options))
    line = "train a.py --work-dir w --resume --amp --auto-scale-lr --launcher pytorch --cfg-options a.b=1 c=[x,y]"
    assert cli.main(line.split()) == 0
    assert seen == dict(
        config="a.py", work_dir="w", resume="auto", amp="bf16", auto_scale_lr=True, launcher="pytorch",
        options={"a.b": 1, "c": ["x", "y"]},
    )  # fmt: skip
    assert cli.main(["train", "a.py", "--resume", "r.pth", "--amp", "fp16"]) == 0
    assert (seen["resume"], seen["amp"], seen["work_dir"], seen["options"]) == ("r.pth", "fp16", None, None)


def test_tools_run_from_anywhere_and_default_the_work_dir(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    config = write_pretraining_config(tmp_path, photos=4, more=NARROW)
    assert cli.main(["train", str(config)]) == 0
    checkpoint = tmp_path / "work_dirs/tiny_scrl/epoch_1.pth"
    exported = run_tool(ROOT / "tools/export_backbone.py", checkpoint, "out/backbone.pth", cwd=tmp_path)
    assert exported.returncode == 0, exported.stderr[-2000:]
    assert "120 of 120 keys" in exported.stdout
    assert cli.main(["test", str(config), str(checkpoint)]) == 2
    assert "has no test_dataloader" in capsys.readouterr().err


def fail_with(monkeypatch, text):
    import mmsscl.engine.train

    def fail(config, **options):
        raise InputError(text)

    monkeypatch.setattr(mmsscl.engine.train, "train", fail)


@pytest.mark.parametrize(
    ("launcher", "variables", "printed"),
    [
        ("pytorch", {"RANK": "8", "LOCAL_RANK": "0"}, True),
        ("pytorch", {"RANK": "3", "LOCAL_RANK": "3"}, False),
        ("slurm", {"SLURM_PROCID": "8", "SLURM_LOCALID": "0"}, True),
        ("slurm", {"SLURM_PROCID": "3", "SLURM_LOCALID": "3"}, False),
        ("none", {"SLURM_PROCID": "3", "SLURM_LOCALID": "3", "RANK": "3", "LOCAL_RANK": "3"}, True),
    ],
)
def test_before_the_process_group_one_process_a_machine_prints(monkeypatch, capsys, launcher, variables, printed):
    for name in ("RANK", "LOCAL_RANK", "SLURM_PROCID", "SLURM_LOCALID"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("LOCAL_RANK", "0")  # what the command line sets where no launcher has
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    fail_with(monkeypatch, "no photos")
    assert cli.main(["train", "a.py", "--launcher", launcher]) == 2
    assert capsys.readouterr().err == ("error: no photos\n" if printed else "")


def test_in_a_process_group_each_rank_prints_its_own_error(monkeypatch, capsys):
    monkeypatch.setenv("LOCAL_RANK", "3")
    monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.distributed, "get_rank", lambda: 11)
    fail_with(monkeypatch, "a.jpg is cut short")
    assert cli.main(["train", "a.py", "--launcher", "pytorch"]) == 2
    assert capsys.readouterr().err == "[rank 11] error: a.jpg is cut short\n"


def train_with_a_worker(tmp_path, config):
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        options = ["train_dataloader.num_workers=1", "train_dataloader.batch_size=2"]
        return cli.main(["train", str(config), "--work-dir", str(tmp_path / "run"), "--cfg-options", *options])
    finally:
        torch.set_num_threads(threads)


def error_lines(capsys):
    """Standard error from the message on; the log goes there too."""
    lines = capsys.readouterr().err.splitlines()
    first = next(index for index, line in enumerate(lines) if line.startswith("error: "))
    return lines[first:]


def test_a_truncated_photo_met_by_a_worker_is_named_in_one_line(tmp_path, capsys):
    config = write_pretraining_config(tmp_path, photos=4)
    photo = tmp_path / "photos" / "2.jpg"
    photo.write_bytes(photo.read_bytes()[:-200])
    assert train_with_a_worker(tmp_path, config) == 2
    (line,) = error_lines(capsys)
    assert line.startswith(f"error: {photo}: the jpeg file is damaged or incomplete (cut short")


def test_a_photo_deleted_after_listing_is_named_in_one_line(tmp_path, capsys, monkeypatch):
    config = write_pretraining_config(tmp_path, photos=4)
    photo = tmp_path / "photos" / "1.jpg"
    list_photos = SceneImages.__init__

    def list_and_lose(self, *arguments, **options):
        list_photos(self, *arguments, **options)
        photo.unlink()

    monkeypatch.setattr(SceneImages, "__init__", list_and_lose)
    assert train_with_a_worker(tmp_path, config) == 2
    (line,) = error_lines(capsys)
    assert str(photo) in line
    assert "Traceback" not in line


def test_gray_and_cmyk_photos_train(tmp_path):
    image = pytest.importorskip("PIL.Image", reason="OpenCV cannot write CMYK")
    config = write_pretraining_config(tmp_path, photos=4)
    pixels = np.random.default_rng(0).integers(0, 255, (96, 96, 4), dtype=np.uint8)
    cv2.imwrite(str(tmp_path / "photos" / "0.jpg"), pixels[..., 0])
    image.fromarray(pixels, "CMYK").save(tmp_path / "photos" / "1.jpg")
    assert train_with_a_worker(tmp_path, config) == 0
    assert (tmp_path / "run" / "epoch_1.pth").is_file()
