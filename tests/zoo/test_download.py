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
from mmsscl.zoo import transport
from mmsscl.zoo.download import download
from mmsscl.zoo.transport import NotThereError, UnreachableError, open_url, read_text
from tests.zoo_server import ZooServer

CONTENT = random.Random(0).randbytes(200_000)
OTHER = random.Random(1).randbytes(200_000)


def digest(content):
    return hashlib.sha256(content).hexdigest()


DIGEST = digest(CONTENT)
GIVEN_UP = [60_000, 0, 0, 0, 0, 0]
DATES = ("Wed, 21 Oct 2015 07:28:00 GMT", "Thu, 22 Oct 2015 07:28:00 GMT")


@pytest.fixture(autouse=True)
def straight_and_quick(monkeypatch):
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.setattr(transport, "PAUSE", 0.001)


@pytest.fixture
def server():
    with ZooServer() as running:
        running.files["/a.pth"] = CONTENT
        yield running


@pytest.fixture
def bring(server, tmp_path):
    """Downloads /a.pth, keeps what was said."""

    def run(sha256=DIGEST, **options):
        return download(f"{server.url}/a.pth", tmp_path / "a.pth", sha256, run.heard, **options)

    run.said = []
    run.heard = run.said.append
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
    server.cuts = list(GIVEN_UP)
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
    server.cuts = list(GIVEN_UP)
    with pytest.raises(InputError, match="interrupted"):
        bring(digest(OTHER) if known else None)
    server.files["/a.pth"] = OTHER
    server.requests.clear()
    assert bring(digest(OTHER) if known else None) == digest(OTHER)
    assert [(each.range, each.status) for each in server.requests] == [("bytes=60000-", 200)]
    assert (tmp_path / "a.pth").read_bytes() == OTHER


@pytest.mark.parametrize("known_by", ["tag", "date", "a tag that it says no more"])
def test_a_server_that_ignores_if_range_is_found_out(bring, server, known_by):
    server.if_range, server.etag = False, known_by != "date"
    server.modified = DATES[0] if known_by == "date" else None
    server.cuts = list(GIVEN_UP)
    with pytest.raises(InputError, match="interrupted"):
        bring(None)
    server.files["/a.pth"] = OTHER
    server.etag = known_by == "tag"
    server.modified = DATES[1] if known_by == "date" else None
    assert bring(None) == digest(OTHER)
    assert "other content than before" in bring.said[-1]


def chunked_once(bring, server, **later):
    """The first answer, which is cut, says no length; what is told of it changes the server."""
    server.chunked, server.cuts = True, [50_000]

    def heard(message):
        bring.said.append(message)
        server.chunked = False
        if len(bring.said) == 1:
            server.cuts = [70_000]
            vars(server).update(later)

    bring.heard = heard


@pytest.mark.parametrize("known", [True, False])
def test_the_rest_says_how_long_the_whole_is(bring, server, tmp_path, known):
    chunked_once(bring, server)
    bring(DIGEST if known else None)
    assert (tmp_path / "a.pth").read_bytes() == CONTENT
    assert [each.status for each in server.requests] == [200, 206, 206]


def test_a_rest_of_unknown_length_needs_a_hash(bring, server, tmp_path):
    chunked_once(bring, server, total=False, length=False)
    with pytest.raises(InputError, match="does not say how long"):
        bring(None)
    assert not (tmp_path / "a.pth").exists()


def test_a_server_that_cuts_each_beginning_of_another_file_is_given_up(bring, server, tmp_path):
    server.files["/a.pth"] = OTHER
    server.cuts = [100_000, None] * 50
    with pytest.raises(InputError, match="is not the file that was published"):
        bring()
    assert len(server.requests) == 4
    assert left(tmp_path) == []


def test_beginning_anew_again_and_again_brings_nothing(bring, server):
    server.ranges = False
    server.cuts = [60_000, 50_000] * 50
    with pytest.raises(InputError, match="interrupted"):
        bring()
    assert len(server.requests) == 1 + transport.ATTEMPTS


def test_a_network_that_is_away_for_a_moment(bring, server, monkeypatch):
    def flaky(url, headers):
        if len(server.requests) == 1 and len(bring.said) == 1:
            raise UnreachableError(f"{url}: host cannot be reached")
        return open_url(url, headers)

    monkeypatch.setattr(download_module, "open_url", flaky)
    server.cuts = [60_000]
    bring()
    assert bring.said[1].endswith("/a.pth: host cannot be reached; trying again")
    assert [each.range for each in server.requests] == [None, "bytes=60000-"]


def test_a_weak_tag_cannot_be_gone_on_from(bring, server):
    server.weak = True
    server.cuts = list(GIVEN_UP)
    with pytest.raises(InputError, match=r"interrupted.*the same command starts anew"):
        bring(None)
    bring(None)
    assert {each.range for each in server.requests} == {None}


def place_part(folder, url, content, **facts):
    (folder / ".a.pth.download").write_bytes(content)
    tag = f'"{hashlib.md5(CONTENT).hexdigest()}"'
    (folder / ".a.pth.download.json").write_text(json.dumps(dict(url=url, etag=tag, modified=None, total=None) | facts))


@pytest.mark.parametrize(("content", "facts", "asked"), [
    (CONTENT, {}, ["bytes=200000-"]),
    (CONTENT + b"zz", {"total": 200_000}, ["bytes=200002-", None]),
    (CONTENT[:9], {"etag": 5}, [None]),
    (CONTENT[:9], {"total": "x"}, [None]),
    (CONTENT[:9], {"answers": None}, [None]),
])  # fmt: skip
def test_parts_that_are_whole_too_long_or_damaged(bring, server, tmp_path, content, facts, asked):
    place_part(tmp_path, f"{server.url}/a.pth", content, **facts)
    bring()
    assert [each.range for each in server.requests] == asked
    assert (tmp_path / "a.pth").read_bytes() == CONTENT
    assert left(tmp_path) == ["a.pth"]


def test_redirections_keep_the_range(bring, server):
    server.files["/b.pth"], server.redirects["/a.pth"] = server.files.pop("/a.pth"), "/b.pth"
    server.cuts = [None, 60_000]
    bring()
    assert [each.range for each in server.asked("/b.pth")] == [None, "bytes=60000-"]


@pytest.mark.parametrize("target", ["/a.pth", "ftp://127.0.0.1:1/a.pth", "file:///etc/passwd"])
def test_redirections_that_are_not_followed(bring, server, target):
    server.redirects["/a.pth"] = target
    with pytest.raises(InputError, match=r"^[^\n]*the server refuses"):
        bring(None)


def test_only_whole_answers_are_taken_for_whole(bring, server):
    server.statuses = [204]
    with pytest.raises(InputError, match=r"refuses \(it answers 204"):
        bring(None)


@pytest.mark.parametrize(("url", "words"), [
    ("http://h:abc/a.pth", "its host or port is malformed"), ("http://[x/a.pth", "its host or port is malformed"),
    ("http://h/my zoo/a.pth", "Write %20"), ("http:///a.pth", "names no host"), ("ftp://h/a.pth", "is no address of http"),
    ("https://user:secret@h/a.pth", "passwords"), ("http://user:secret@h:abc/a.pth", "malformed"),
    ("user:secret@h/a.pth", "is no address"),
])  # fmt: skip
def test_no_addresses(tmp_path, url, words):
    with pytest.raises(InputError, match=words) as caught:
        download(url, tmp_path / "a.pth", None, pytest.fail)
    assert "secret" not in str(caught.value)


def test_https(tmp_path, monkeypatch):
    if shutil.which("openssl") is None:
        pytest.skip("no openssl here to make a certificate")
    certificate = tmp_path / "certificate.pem"
    words = "req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=zoo -addext subjectAltName=IP:127.0.0.1"
    subprocess.run(["openssl", *words.split(), "-keyout", certificate, "-out", tmp_path / "own.pem"], check=True,
                   capture_output=True)
    certificate.write_bytes(certificate.read_bytes() + (tmp_path / "own.pem").read_bytes())
    with ZooServer(certificate) as server:
        server.files["/a.pth"] = CONTENT
        with pytest.raises(InputError, match=r"cannot be reached .*certificate verify failed"):
            download(f"{server.url}/a.pth", tmp_path / "a.pth", DIGEST, print)
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "own.pem"))
        assert download(f"{server.url}/a.pth", tmp_path / "a.pth", DIGEST, print) == DIGEST


@pytest.mark.parametrize("chunked", [False, True])
def test_a_text_that_is_cut_is_read_again(server, chunked):
    server.files["/index.yml"] = b"Models:\n- Name: one\n"
    server.chunked, server.cuts = chunked, [12, 3]
    said = []
    assert read_text(f"{server.url}/index.yml", say=said.append) == "Models:\n- Name: one\n"
    assert len(said) == 2
    server.cuts = [12] * 5
    with pytest.raises(UnreachableError, match=r"cannot be read .connection lost"):
        read_text(f"{server.url}/index.yml")


def test_without_tags_the_hash_finds_parts_that_do_not_fit(bring, server, tmp_path):
    server.etag = server.if_range = False
    server.cuts = list(GIVEN_UP)
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


def test_a_copy_does_not_go_on_from_what_a_server_sent(bring, server, tmp_path):
    server.cuts = list(GIVEN_UP)
    with pytest.raises(InputError, match="interrupted"):
        bring(None)
    source = tmp_path / "source.pth"
    source.write_bytes(OTHER)

    def stop(done, total):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        download(source.as_uri(), tmp_path / "a.pth", None, print, stop)
    assert bring(None) == DIGEST


def test_a_copy_does_not_follow_a_link_under_its_hidden_name(tmp_path):
    for name, content in (("precious", OTHER), ("source.pth", CONTENT)):
        (tmp_path / name).write_bytes(content)
    (tmp_path / ".a.pth.download").symlink_to(tmp_path / "precious")
    download((tmp_path / "source.pth").as_uri(), tmp_path / "a.pth", DIGEST, print)
    assert (tmp_path / "precious").read_bytes() == OTHER
    assert not (tmp_path / "a.pth").is_symlink()


def test_only_a_file_that_is_not_there_is_looked_for_elsewhere(tmp_path):
    (tmp_path / "folder").mkdir()
    with pytest.raises(InputError, match=r"folder: cannot be read .Is a directory") as caught:
        download((tmp_path / "folder").as_uri(), tmp_path / "a.pth", None, print)
    assert not isinstance(caught.value, NotThereError)


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
