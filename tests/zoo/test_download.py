"""A download ends with the whole file of the right hash, or with none and a plain reason."""
import errno
import hashlib
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys

import pytest

from mmsscl.errors import InputError
from mmsscl.zoo import download as download_module
from mmsscl.zoo.download import download
from mmsscl.zoo.transport import NotThereError
from tests.zoo_server import ZooServer

CONTENT = random.Random(0).randbytes(200_000)
OTHER = random.Random(1).randbytes(200_000)


def digest(content):
    return hashlib.sha256(content).hexdigest()


DIGEST = digest(CONTENT)


@pytest.fixture
def server(monkeypatch):
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(download_module, "PAUSE", 0.001)
    with ZooServer() as running:
        running.files["/a.pth"] = CONTENT
        yield running


@pytest.fixture
def bring(server, tmp_path):
    """Downloads /a.pth, keeps what was said."""

    def run(sha256=DIGEST, **options):
        return download(f"{server.url}/a.pth", tmp_path / "a.pth", sha256, run.said.append, **options)

    run.said = []
    return run


def left(folder):
    return sorted(os.listdir(folder))


def test_whole_file_at_its_name_and_nothing_beside_it(bring, server, tmp_path):
    told = []
    assert bring(progress=lambda done, total: told.append((done, total))) == digest(CONTENT)
    assert (tmp_path / "a.pth").read_bytes() == CONTENT
    assert left(tmp_path) == ["a.pth"]
    assert told[-1] == (200_000, 200_000)
    assert [done for done, _ in told] == sorted(done for done, _ in told)
    assert bring.said == []


@pytest.mark.parametrize("chunked", [False, True])
def test_a_cut_connection_goes_on_where_it_was(bring, server, tmp_path, chunked):
    server.chunked = chunked
    server.cuts = [50_000, 70_000]
    bring()
    assert (tmp_path / "a.pth").read_bytes() == CONTENT
    tag = f'"{hashlib.md5(CONTENT).hexdigest()}"'
    assert [(each.status, each.if_range) for each in server.requests] == [(200, None), (206, tag), (206, tag)]
    if not chunked:
        assert [each.range for each in server.requests] == [None, "bytes=50000-", "bytes=120000-"]
        assert "50,000 of 200,000 bytes" in bring.said[0]
    assert left(tmp_path) == ["a.pth"]


def test_a_download_that_was_given_up_goes_on_at_the_next_call(bring, server, tmp_path):
    server.cuts = [60_000, 0, 0, 0, 0]
    with pytest.raises(InputError, match=r"interrupted.*60,000 bytes that came are kept.*same command"):
        bring()
    assert not (tmp_path / "a.pth").exists()
    server.requests.clear()
    bring()
    assert [each.range for each in server.requests] == ["bytes=60000-"]
    assert (tmp_path / "a.pth").read_bytes() == CONTENT


def test_a_server_without_ranges_is_asked_for_all_of_it(bring, server, tmp_path):
    server.ranges = False
    server.cuts = [60_000]
    bring()
    assert [each.status for each in server.requests] == [200, 200]
    assert (tmp_path / "a.pth").read_bytes() == CONTENT


@pytest.mark.parametrize("known", [True, False])
def test_content_that_changed_between_two_parts_is_taken_anew(bring, server, tmp_path, known):
    server.cuts = [60_000, 0, 0, 0, 0]
    with pytest.raises(InputError, match="interrupted"):
        bring(digest(OTHER) if known else None)
    server.files["/a.pth"] = OTHER
    server.requests.clear()
    assert bring(digest(OTHER) if known else None) == digest(OTHER)
    assert [(each.range, each.status) for each in server.requests] == [("bytes=60000-", 200)]
    assert (tmp_path / "a.pth").read_bytes() == OTHER


def test_a_server_that_ignores_if_range_is_found_out_by_its_tag(bring, server, tmp_path):
    server.if_range = False
    server.cuts = [60_000, 0, 0, 0, 0]
    with pytest.raises(InputError, match="interrupted"):
        bring(None)
    server.files["/a.pth"] = OTHER
    assert bring(None) == digest(OTHER)
    assert "other content than before" in bring.said[-1]


def test_without_tags_the_hash_finds_parts_that_do_not_fit(bring, server, tmp_path):
    server.etag = server.if_range = False
    server.cuts = [60_000, 0, 0, 0, 0]
    with pytest.raises(InputError, match="interrupted"):
        bring(digest(OTHER))
    server.files["/a.pth"] = OTHER
    assert bring(digest(OTHER)) == digest(OTHER)
    assert "does not fit together" in bring.said[-1]
    assert left(tmp_path) == ["a.pth"]


def test_without_tags_and_hash_nothing_is_put_together(bring, server, tmp_path):
    server.etag = False
    server.cuts = [60_000]
    assert bring(None) == digest(CONTENT)
    assert [each.range for each in server.requests] == [None, None]


def test_a_date_serves_where_there_is_no_tag(bring, server):
    server.etag, server.modified = False, "Wed, 21 Oct 2015 07:28:00 GMT"
    server.cuts = [60_000]
    bring(None)
    assert server.requests[1].if_range == server.modified
    assert server.requests[1].status == 206


def test_wrong_content_is_removed_and_both_hashes_are_said(bring, server, tmp_path):
    server.files["/a.pth"] = OTHER
    with pytest.raises(InputError, match=rf"{digest(OTHER)}.*{digest(CONTENT)}.*removed"):
        bring()
    assert left(tmp_path) == []


def test_wrong_content_does_not_touch_the_file_that_is_there(bring, server, tmp_path):
    (tmp_path / "a.pth").write_bytes(b"older")
    server.files["/a.pth"] = OTHER
    with pytest.raises(InputError, match="is not the file"):
        bring()
    assert (tmp_path / "a.pth").read_bytes() == b"older"


def test_busy_is_tried_again_and_not_there_is_not(bring, server, tmp_path):
    server.statuses = [503, 429]
    bring()
    assert [each.status for each in server.requests] == [503, 429, 200]
    server.requests.clear()
    del server.files["/a.pth"]
    with pytest.raises(NotThereError, match=r"not there .*404.*MMSSCL_ZOO"):
        bring()
    assert len(server.requests) == 1
    server.statuses = [403]
    with pytest.raises(InputError, match=r"refuses .*403"):
        bring()
    server.statuses = [500] * 20
    with pytest.raises(InputError, match="interrupted, the server answers 500"):
        bring()


def test_nobody_listens_and_no_such_host(tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
    with pytest.raises(InputError, match=r"127.0.0.1 cannot be reached.*refused.*network.*MMSSCL_ZOO=file:///"):
        download(f"http://127.0.0.1:{port}/a.pth", tmp_path / "a.pth", None, print)
    with pytest.raises(InputError, match=r"nowhere.invalid cannot be reached"):
        download("http://nowhere.invalid/a.pth", tmp_path / "a.pth", None, print)
    assert left(tmp_path) == []


def test_an_answer_without_length_needs_a_hash(bring, server, tmp_path):
    server.length = False
    with pytest.raises(InputError, match="does not say how long"):
        bring(None)
    bring()
    assert (tmp_path / "a.pth").read_bytes() == CONTENT


def test_a_file_of_this_machine_is_copied(tmp_path):
    source = tmp_path / "zoo" / "a b.pth"
    source.parent.mkdir()
    source.write_bytes(CONTENT)
    assert download(source.as_uri(), tmp_path / "c.pth", digest(CONTENT), print) == digest(CONTENT)
    assert (tmp_path / "c.pth").read_bytes() == CONTENT
    with pytest.raises(InputError, match="is not the file"):
        download(source.as_uri(), tmp_path / "d.pth", digest(OTHER), print)
    with pytest.raises(NotThereError, match=r"none\.pth"):
        download(f"{source.parent.as_uri()}/none.pth", tmp_path / "d.pth", None, print)
    with pytest.raises(InputError, match="three slashes"):
        download("file://zoo/a.pth", tmp_path / "d.pth", None, print)
    assert left(tmp_path) == ["c.pth", "zoo"]


def test_a_disk_that_is_too_small_is_said_before_anything_is_asked_for(bring, tmp_path, monkeypatch):
    usage = shutil.disk_usage(tmp_path)._replace(free=150_000)
    monkeypatch.setattr(download_module.shutil, "disk_usage", lambda folder: usage)
    with pytest.raises(InputError, match=r"too full: 200,000 bytes to come.*150,000 left.*MMSSCL_CACHE"):
        bring()


def test_a_disk_that_fills_up_keeps_what_came_and_goes_on_after_room_was_made(server, small_disk, monkeypatch):
    disk = small_disk(128 * 1024)
    server.length = False
    said = []
    with pytest.raises(InputError, match=r"the disk is full .*No space left.*MMSSCL_CACHE.*kept"):
        download(f"{server.url}/a.pth", disk / "a.pth", digest(CONTENT), said.append)
    assert not (disk / "a.pth").exists()
    small_disk(1024 * 1024)
    server.requests.clear()
    download(f"{server.url}/a.pth", disk / "a.pth", digest(CONTENT), said.append)
    assert server.requests[0].range is not None
    assert (disk / "a.pth").read_bytes() == CONTENT


@pytest.mark.parametrize(("number", "words"), [(errno.EDQUOT, "the disk is full"), (errno.EACCES, "permissions")])
def test_other_faults_of_the_disk(bring, tmp_path, monkeypatch, number, words):
    def fail(*arguments):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(download_module.os, "replace", fail)
    monkeypatch.setattr("mmsscl.atomic_file.os.replace", fail)
    with pytest.raises(InputError, match=f"cannot be written.*{words}"):
        bring()


def test_a_killed_process_is_gone_on_from(server, tmp_path):
    server.pause = 0.05
    code = "import sys; from pathlib import Path; from mmsscl.zoo.download import download\n" \
        "download(sys.argv[1], Path(sys.argv[2]), sys.argv[3], print)"  # fmt: skip
    words = [f"{server.url}/a.pth", str(tmp_path / "a.pth"), digest(CONTENT)]
    process = subprocess.Popen([sys.executable, "-c", code, *words])
    partial = tmp_path / ".a.pth.download"
    assert server.first_bytes.wait(30)
    while not partial.exists() or partial.stat().st_size < 30_000:
        assert process.poll() is None
    process.send_signal(signal.SIGKILL)
    process.wait()
    have = partial.stat().st_size
    assert 0 < have < 200_000
    assert json.loads((tmp_path / ".a.pth.download.json").read_text())["total"] == 200_000
    server.pause = 0.0
    server.requests.clear()
    download(*[words[0], tmp_path / "a.pth", words[2]], print)
    assert server.requests[0].range == f"bytes={have}-"
    assert (tmp_path / "a.pth").read_bytes() == CONTENT
