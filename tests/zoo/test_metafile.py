"""A malformed metafile is named with the key that is wrong; a sound one is read as it is."""
import pytest

from mmsscl.errors import InputError
from mmsscl.zoo.address import file_name_of
from mmsscl.zoo.entry import escapes
from mmsscl.zoo.metafile import parse_metafile, parse_yaml

HASH = "0123abcd" * 8


def read(text, base="file:///zoo"):
    return parse_metafile(text, "zoo/metafile.yml", base, "mirror")


def test_a_sound_metafile():
    (entry,) = read(f"""
Collections:
  - {{Name: SCRL, Metadata: {{Architecture: [ResNet], Epochs: 1}}, Paper: {{URL: 'https://a'}}}}
Models:
  - Name: mine
    In Collection: SCRL
    Metadata: {{Epochs: 12, Training Data: photos}}
    Config: configs/scrl_r50_coco.py
    Weights: deep/mine-0123abcd.pth
    SHA256: {HASH}
    Another Tool's: key
    Results:
      - {{Task: Detection, Dataset: COCO, Metrics: {{box AP: 40.5}}, Source: the authors}}
""")
    assert (entry.name, entry.method, entry.status) == ("mine", "SCRL", "verified")
    assert entry.metadata == {"Architecture": ["ResNet"], "Epochs": 12, "Training Data": "photos"}
    assert entry.url == "file:///zoo/deep/mine-0123abcd.pth"
    assert entry.file_name == "mine-0123abcd.pth"
    assert (entry.results[0].metrics, entry.results[0].source) == ({"box AP": 40.5}, "the authors")


@pytest.mark.parametrize(("facts", "status"), [
    ("", "no weights"), (", Config: a.py", "recipe"), (", Built By: make", "built by a command"),
    (", Weights: 'http://h/a.pth'", "unverified"),
    (f", Weights: a.pth, SHA256: {HASH}", "verified"),
])  # fmt: skip
def test_status(facts, status):
    assert read(f"Models: [{{Name: a{facts}}}]")[0].status == status


@pytest.mark.parametrize(("text", "words"), [
    ("Models: [", "line 1: no YAML"),
    ("Models:\n- Name: a\n\tb: c", "line 3: no YAML"),
    ("- a", "holds a list instead of the keys Collections, Models"),
    ("", "holds nothing"),
    ("Modles: []", r"Modles: nothing reads this key. Did you mean Models\?"),
    ("Models: {Name: a}", "Models: is a mapping instead of a list"),
    ("Models: [a]", r"Models\[0\]: is 'a' instead of keys"),
    ("Models: [{Weights: a.pth}]", r"Models\[0\].Name: is missing"),
    ("Models: [{Name: 3}]", r"Models\[0\].Name: is 3 instead of text"),
    ("Models: [{Name: ../../etc}]", r"Models\[0\].Name: '../../etc' is no name"),
    ("Models: [{Name: /etc}]", "is no name"),
    ("Models: [{Name: a}, {Name: a}]", r"Models\[1\].Name: a is there twice"),
    ("Models: [{Name: a, Wieghts: b}]", r"Models\[0\].Wieghts: nothing reads this key. Did you mean Weights\?"),
    ("Models: [{Name: a, Metadata: [x]}]", r"Models\[0\] \(a\).Metadata: is a list instead of keys"),
    ("Models: [{Name: a, Metadata: {Epochs: many}}]", r"Metadata.Epochs: 'many' is no number"),
    ("Models: [{Name: a, Metadata: {Epochs: -1}}]", "Metadata.Epochs: -1 is no number above 0"),
    ("Collections: [{Name: SCRL}]\nModels: [{Name: a, In Collection: SCLR}]", r"'SCLR' is none .*Did you mean SCRL\?"),
    ("Collections: [{Name: S}, {Name: S}]", r"Collections\[1\].Name: S is there twice"),
    ("Models: [{Name: a, Weights: b.pth, SHA256: abc}]", r"SHA256: 'abc' is not 64 hexadecimal"),
    (f"Models: [{{Name: a, Weights: b.pth, SHA256: {HASH.upper()}}}]", "64 hexadecimal digits in lower case"),
    (f"Models: [{{Name: a, SHA256: {HASH}}}]", "hash of nothing"),
    (f"Models: [{{Name: a, Weights: b-deadbeef.pth, SHA256: {HASH}}}]", "begins with 0123abcd, .* says deadbeef"),
    ("Models: [{Name: a, Weights: ../b.pth}]", r"Weights: '../b.pth' could lead out of the cache"),
    ("Models: [{Name: a, Weights: /etc/passwd}]", "Weights: '/etc/passwd' could lead out"),
    ("Models: [{Name: a, Weights: c/../../b.pth}]", "could lead out"),
    ("Models: [{Name: a, Weights: ~/b.pth}]", "could lead out"),
    (r"Models: [{Name: a, Weights: '..\b.pth'}]", "could lead out"),
    ("Models: [{Name: a, Weights: 'http://h/..%2f..%2fb.pth'}]", "could lead out"),
    ("Models: [{Name: a, Weights: 'http://h/.bashrc'}]", "could lead out"),
    ("Models: [{Name: a, Weights: 'http://h/'}]", "could lead out"),
    ("Models: [{Name: a, Weights: 'ftp://h/b.pth'}]", "Weights: ftp://h/b.pth: is no address of http.*A relative path"),
    ("Models: [{Name: a, Weights: 'http://[x/b.pth'}]", r"\(a\).Weights: http://\[x/b.pth: is no address"),
    ("Models: [{Name: a, Weights: 'https://me:secret@h/b.pth'}]", r"Weights: ...@h/b.pth: passwords"),
    ("Models: [{Name: a, Metadata: {Date: 2020-13-45}}]", r"no YAML \(month must be in 1..12"),
    ("[" * 600, "no YAML .maximum recursion"),
    (f"Models:\n- Name: a\n  Weights: b.pth\n  SHA256: {HASH}\n  SHA256: {HASH}", "line 5: no YAML .SHA256 is there twice"),
    ("Models: []\nModels: []", "line 2: no YAML .Models is there twice"),
    ("Models: !!map [a]", "no YAML"),
    ("Models: [{Name: a, Metadata: {Epochs: .nan}}]", "Epochs: nan is no number"),
    ("Models: [{Name: a, Metadata: {Epochs: .inf}}]", "Epochs: inf is no number"),
    ("Models: [{Name: a, Results: [{Task: T, Dataset: D, Metrics: {x: .nan}}]}]", "Metrics.x: nan is no number"),
    ("Models: [{Name: a, Config: ../../secret.py}]", "Config: '../../secret.py' leads out"),
    ("Models: [{Name: a, Results: 40}]", r"Results: is 40 instead of a list"),
    ("Models: [{Name: a, Results: [{Task: T, Metrics: {x: 1}}]}]", r"\(a\).Results\[0\].Dataset: is missing"),
    ("Models: [{Name: a, Results: [{Task: T, Dataset: D, Metrics: {x: good}}]}]", r"Metrics.x: 'good' is no number"),
])  # fmt: skip
def test_faults_are_named_with_file_and_key(text, words):
    with pytest.raises(InputError, match=f"^metafile zoo/metafile.yml: .*{words}"):
        read(text)


def test_a_server_cannot_name_files_of_this_machine():
    text = "Models: [{Name: a, Weights: 'file:///etc/b.pth'}]"
    assert read(text)[0].url == "file:///etc/b.pth"
    with pytest.raises(InputError, match="another machine's zoo"):
        read(text, "http://host/zoo")


def test_keys_that_are_merged_may_be_said_anew():
    text = "Models:\n- &first {Name: a, Built By: make}\n- {<<: *first, Name: b}"
    assert [(entry.name, entry.built_by) for entry in read(text)] == [("a", "make"), ("b", "make")]


def test_names_that_stay_in_their_folder():
    assert not escapes("configs/_base_/models/a.py")
    assert file_name_of("https://h/a/b%2B1.pth?token=/../x#y") == "b+1.pth"
    assert parse_yaml("Import: [a.yml]", "x") == {"Import": ["a.yml"]}
