"""The commit that a run logs is the checkout's."""
import subprocess
from pathlib import Path

import pytest

from mmsscl import checkout
from mmsscl.checkout import commit_of_checkout


def test_commit_and_plus_for_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkout, "__file__", str(tmp_path / "mmsscl" / "checkout.py"))
    (tmp_path / "mmsscl").mkdir()
    assert commit_of_checkout() == ""

    def git(*words: str) -> str:
        identity = ["-c", "user.name=a", "-c", "user.email=a@b"]
        return subprocess.run(["git", *identity, *words], cwd=tmp_path, capture_output=True, text=True, check=True).stdout

    git("init", "-q")
    assert commit_of_checkout() == ""
    (tmp_path / "file").write_text("1")
    git("add", "file")
    git("commit", "-q", "-m", "one")
    commit = git("rev-parse", "HEAD")[:12]
    assert commit_of_checkout() == commit
    (tmp_path / "file").write_text("2")
    assert commit_of_checkout() == f"{commit}+"
