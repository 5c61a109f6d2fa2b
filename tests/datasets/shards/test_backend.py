import io
import os
import tarfile
from concurrent.futures import ThreadPoolExecutor
from multiprocessing import get_context

import numpy as np
import pytest
from mmcv.transforms import LoadImageFromFile
from mmengine.fileio import get, get_text
from PIL import Image

from mmsscl.datasets.shards import ShardIndex, TarAddress, TarBackend, backend
from mmsscl.errors import UnreadableImageError


def write_tar(path, files):
    with tarfile.open(path, "w") as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    index = ShardIndex.scan(str(path))
    return [str(TarAddress(str(path), int(o), int(s), n)) for n, o, s in zip(index.names, index.offsets, index.sizes)]


@pytest.fixture
def files():
    generator = np.random.default_rng(0)
    return {f"{number}.jpg": generator.bytes(generator.integers(0, 3000)) for number in range(40)} | {"empty": b""}


def test_mmengine_reads_it(tmp_path, files):
    addresses = write_tar(tmp_path / "a.tar", files)
    assert [get(address) for address in addresses] == list(files.values())
    assert get_text(write_tar(tmp_path / "b.tar", {"a.txt": "é".encode()})[0]) == "é"


def test_mmcvs_loader_reads_it(tmp_path):
    stream = io.BytesIO()
    pixels = np.random.default_rng(0).integers(0, 255, (6, 8, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(stream, "PNG")
    (address,) = write_tar(tmp_path / "a.tar", {"a.png": stream.getvalue()})
    np.testing.assert_array_equal(LoadImageFromFile()({"img_path": address})["img"][..., ::-1], pixels)


def test_few_files_stay_open(tmp_path, files, monkeypatch):
    monkeypatch.setattr(backend, "_MOST_OPEN_FILES", 3)
    shards = [write_tar(tmp_path / f"{number}.tar", {"a": b"%d" % number}) for number in range(9)]
    reader, before = TarBackend(), len(os.listdir("/proc/self/fd"))
    order = np.random.default_rng(0).integers(9, size=200).tolist()
    assert [reader.get(shards[number][0]) for number in order] == [b"%d" % number for number in order]
    assert len(os.listdir("/proc/self/fd")) - before == 3


def test_threads_may_share_it(tmp_path, monkeypatch):
    monkeypatch.setattr(backend, "_MOST_OPEN_FILES", 1)
    contents = {f"{number}": os.urandom(50_000) for number in range(8)}
    addresses = [write_tar(tmp_path / f"{name}.tar", {name: content})[0] for name, content in contents.items()]
    reader = TarBackend()
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(reader.get, addresses * 50))
    assert found == list(contents.values()) * 50


def test_forked_processes_may_share_it(tmp_path, files):
    addresses = write_tar(tmp_path / "a.tar", files)
    get(addresses[0])  # leaves the file open
    with get_context("fork").Pool(2) as pool:
        assert pool.map(get, addresses * 20, chunksize=1) == list(files.values()) * 20


def test_a_tar_file_that_is_gone_or_cut(tmp_path):
    (address,) = write_tar(tmp_path / "a.tar", {"a.jpg": bytes(5000)})
    reader = TarBackend()
    os.truncate(tmp_path / "a.tar", 512 + 1234)
    with pytest.raises(UnreadableImageError, match=r"a\.tar\?offset=512&size=5000/a\.jpg: .*1234 of .* 5000 bytes"):
        reader.get(address)
    (tmp_path / "a.tar").unlink()
    with pytest.raises(FileNotFoundError, match=r"a\.tar"):
        TarBackend().get(address)


def test_a_file_that_the_file_system_forgot_is_opened_again(tmp_path):
    (address,) = write_tar(tmp_path / "a.tar", {"a.jpg": b"bytes"})
    reader = TarBackend()
    reader.get(address)
    reader._files[str(tmp_path / "a.tar")] = io.FileIO(tmp_path / "a.tar", "a")  # not for reading
    assert reader.get(address) == b"bytes"
