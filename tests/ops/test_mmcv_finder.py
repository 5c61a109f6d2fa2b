"""Which extension wins, what an unserved operator says, and what importing costs: each in a fresh interpreter."""
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def run_python(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=300)


# A compiled mmcv is imitated by a second folder on mmcv's package path.
WITH_FOLDER = "import mmsscl, sys, mmcv; mmcv.__path__.insert(0, {folder!r}); "


def test_import_is_cheap_and_silent() -> None:
    done = run_python(
        "import sys, mmsscl; heavy = {'torch', 'torchvision', 'numpy', 'mmcv', 'mmengine'} & set(sys.modules); "
        "assert not heavy, heavy"
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_a_sound_extension_wins(tmp_path: Path) -> None:
    (tmp_path / "_ext.py").write_text("mark = 'compiled'\n")
    done = run_python(
        WITH_FOLDER.format(folder=str(tmp_path))
        + "from mmsscl.ops import mmcv_ext_source; import mmcv._ext; "
        "assert mmcv._ext.mark == 'compiled' and not hasattr(mmcv._ext, 'nms'); assert mmcv_ext_source() == 'compiled'"
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("damage", ["torn file", "undefined symbol"])
def test_a_broken_extension_is_replaced_and_named(tmp_path: Path, damage: str) -> None:
    library = tmp_path / ("_ext" + sysconfig.get_config_var("EXT_SUFFIX"))
    if damage == "torn file":
        library.write_bytes(b"\x7fELF, but the download stopped here")
    else:
        compiler = shutil.which("cc")
        if compiler is None:
            pytest.skip("needs a C compiler to make a library with an undefined symbol")
        source = tmp_path / "ext.c"
        source.write_text("extern void *of_another_torch(void); void *PyInit__ext(void) { return of_another_torch(); }")
        subprocess.run([compiler, "-shared", "-fPIC", "-o", str(library), str(source)], check=True)
    done = run_python(
        WITH_FOLDER.format(folder=str(tmp_path))
        + "from mmsscl.ops import mmcv_ext_source; assert mmcv_ext_source() == 'torchvision'; "
        "import torch; from mmcv.ops import nms; "
        "assert nms(torch.tensor([[0., 0, 2, 2]]), torch.ones(1), 0.5)[1].tolist() == [0]"
    )
    assert done.returncode == 0, done.stderr
    message = done.stdout + done.stderr
    assert str(library) in message
    assert "--no-build-isolation" in message
    if damage == "undefined symbol":
        assert "undefined symbol: of_another_torch" in message


def test_spawned_workers_have_the_operators() -> None:
    done = run_python(
        "import multiprocessing, mmsscl.ops\n"
        "if __name__ == '__main__':\n"
        "    with multiprocessing.get_context('spawn').Pool(1) as pool:\n"
        "        print(pool.apply(mmsscl.ops.mmcv_ext_source))\n"
    )
    assert done.stdout.strip() in ("torchvision", "compiled"), done.stderr


def test_installing_twice_changes_nothing() -> None:
    done = run_python(
        "import sys, mmsscl; from mmsscl.ops import install_mmcv_ext; before = list(sys.meta_path); "
        "install_mmcv_ext(); assert sys.meta_path == before"
    )
    assert done.returncode == 0, done.stderr
