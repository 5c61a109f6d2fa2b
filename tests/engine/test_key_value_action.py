"""Values of --cfg-options: as mmengine reads them, and dictionaries."""
import argparse

import pytest

from mmsscl.engine.key_value_action import KeyValueAction


def read(*words: str) -> dict:
    parser = argparse.ArgumentParser()
    parser.add_argument("--cfg-options", nargs="+", action=KeyValueAction)
    return parser.parse_args(["--cfg-options", *words]).cfg_options


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("[{'type':'LocalVisBackend'},{'type':'TensorboardVisBackend'}]",
         [{"type": "LocalVisBackend"}, {"type": "TensorboardVisBackend"}]),
        ("{'a': (1, 2)}", {"a": (1, 2)}), ("[a,(1,2)]", ["a", (1, 2)]), ("1,2", [1, 2]),
        ("True", True), ("{name}", "{name}"),
    ],
)  # fmt: skip
def test_values(text: str, value: object) -> None:
    assert read(f"a.b={text}") == {"a.b": value}


def test_a_word_without_equals_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        read("model")
    assert "'model' is not of the form KEY=VALUE" in capsys.readouterr().err
