"""A run goes on from the newest checkpoint that is whole."""
import shutil
import zipfile

import pytest
import torch

from mmsscl.engine.checkpoints.find_checkpoint import check_whole, newest_checkpoint
from mmsscl.errors import InputError


@pytest.fixture
def said(monkeypatch):
    """What is logged."""
    lines = []
    monkeypatch.setattr("mmsscl.engine.checkpoints.find_checkpoint.print_log", lambda text, **_: lines.append(text))
    return lines


def write(file, iteration, time="20250131_120000", **more):
    file.parent.mkdir(parents=True, exist_ok=True)
    state = {"state_dict": {"weight": torch.arange(5000.0) + iteration}, "message_hub": {}}
    torch.save(state | {"meta": {"epoch": 1, "iter": iteration, "time": time}} | more, file)
    return file


def flip_in_a_tensor(file):
    """Change one byte of a tensor, which torch.load does not notice."""
    with zipfile.ZipFile(file) as archive:
        record = next(info for info in archive.infolist() if "/data/0" in info.filename)
    content = bytearray(file.read_bytes())
    content[record.header_offset + 5000] ^= 1
    file.write_bytes(content)
    torch.load(file, weights_only=True)


DAMAGES = {
    "cut in the middle": lambda file: file.write_bytes(file.read_bytes()[:9000]),
    "cut by a byte": lambda file: file.write_bytes(file.read_bytes()[:-1]),
    "empty": lambda file: file.write_bytes(b""),
    "a byte of a tensor": flip_in_a_tensor,
    "zeros": lambda file: file.write_bytes(bytes(file.stat().st_size)),
    "weights only": lambda file: torch.save({"state_dict": {"weight": torch.ones(2)}}, file),
    "text": lambda file: file.write_text("error 404"),
}


@pytest.mark.parametrize("damage", sorted(DAMAGES))
@pytest.mark.parametrize("pointed", [True, False])
def test_a_damaged_newest_one_is_passed_over_and_named(tmp_path, said, damage, pointed):
    older, newest = write(tmp_path / "epoch_1.pth", 10), write(tmp_path / "epoch_2.pth", 20)
    if pointed:
        (tmp_path / "last_checkpoint").write_text(str(newest))
    assert newest_checkpoint(tmp_path) == newest
    DAMAGES[damage](newest)
    assert newest_checkpoint(tmp_path) == older
    assert "epoch_2.pth" in said[0]
    assert len(said) == 1
    with pytest.raises(InputError, match=r"epoch_2\.pth"):
        check_whole(newest)
    DAMAGES[damage](older)
    with pytest.raises(InputError, match=r"none of its 2 checkpoints can be resumed from.*Restore one"):
        newest_checkpoint(tmp_path)


def test_the_format_from_before_archives_is_read_and_its_damages_told(tmp_path, said):
    older, newest = write(tmp_path / "epoch_1.pth", 10), write(tmp_path / "epoch_2.pth", 20)
    torch.save(torch.load(newest), newest, _use_new_zipfile_serialization=False)
    assert newest_checkpoint(tmp_path) == newest
    check_whole(newest)
    newest.write_bytes(newest.read_bytes()[:9000])
    assert newest_checkpoint(tmp_path) == older
    assert "epoch_2.pth" in said[0]


def test_progress_decides_not_names_or_times(tmp_path):
    within = write(tmp_path / "iter_25.pth", 25)
    write(tmp_path / "epoch_2.pth", 20)
    write(tmp_path / "best_mAP_epoch_9.pth", 90)
    (tmp_path / "last_checkpoint").write_text(str(tmp_path / "epoch_2.pth"))
    assert newest_checkpoint(tmp_path) == within


def test_a_name_of_ones_own_is_found_by_the_pointer(tmp_path):
    own = write(tmp_path / "run" / "mine-3.pth", 30)
    (own.parent / "last_checkpoint").write_text(str(own))
    assert newest_checkpoint(own.parent) == own
    moved = shutil.move(own.parent, tmp_path / "moved")
    assert newest_checkpoint(moved) == tmp_path / "moved" / "mine-3.pth"


def test_a_copied_folder_goes_on_with_its_own_files(tmp_path):
    """Also where the folder that it was copied from went on."""
    first = write(tmp_path / "run" / "epoch_2.pth", 20)
    (first.parent / "last_checkpoint").write_text(str(first))
    copied = shutil.copytree(first.parent, tmp_path / "copied")
    write(first, 90)
    assert newest_checkpoint(copied) == copied / "epoch_2.pth"
    (first.parent / "last_checkpoint").write_text(str(write(first.parent / "epoch_9.pth", 90)))
    shutil.copy(first.parent / "last_checkpoint", copied)
    assert newest_checkpoint(copied) == copied / "epoch_2.pth"
    # out_dir of a checkpoint hook
    (copied / "epoch_2.pth").unlink()
    assert newest_checkpoint(copied) == first.parent / "epoch_9.pth"


def test_those_of_an_earlier_run_are_passed_over_on_demand(tmp_path):
    write(tmp_path / "epoch_9.pth", 90, time="20250131_120000")
    later = write(tmp_path / "epoch_1.pth", 10, time="20250131_130000")
    assert newest_checkpoint(tmp_path, since="20250131_123000") == later
    assert newest_checkpoint(tmp_path, since="20250131_140000") is None


@pytest.mark.parametrize("pointer", [None, "", "/nowhere/epoch_3.pth", "\udcff"])
def test_nothing_there_is_a_new_run(tmp_path, pointer):
    if pointer is not None:
        (tmp_path / "last_checkpoint").write_bytes(pointer.encode("utf-8", "surrogateescape"))
    assert newest_checkpoint(tmp_path) is None
    assert newest_checkpoint(tmp_path / "absent") is None


class Evil:
    def __reduce__(self):
        return (print, ("code of the file ran",))


def test_a_pickle_with_code_is_passed_over_unrun(tmp_path, said, capsys):
    older = write(tmp_path / "epoch_1.pth", 10)
    write(tmp_path / "epoch_2.pth", 20, extra=Evil())
    assert newest_checkpoint(tmp_path) == older
    assert "refused, because loading it would run code" in said[0]
    assert "code of the file ran" not in capsys.readouterr().out
