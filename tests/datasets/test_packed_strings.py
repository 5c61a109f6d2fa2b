import os
import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmsscl.datasets.packed_strings import PackedStrings
from mmsscl.errors import InputError

NAMES = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=12)


@given(st.lists(NAMES, max_size=30))
def test_a_list_of_strings_comes_back(names):
    packed = PackedStrings(iter(names))
    assert len(packed) == len(names)
    assert list(packed) == names
    assert [packed[index] for index in reversed(range(len(names)))] == names[::-1]
    assert list(pickle.loads(pickle.dumps(packed))) == names
    assert list(PackedStrings.from_arrays(packed.buffer, packed.ends)) == names


def test_more_than_one_chunk():
    names = [f"{number:x}" for number in range(200_000)]
    assert list(PackedStrings(names)) == names


def test_names_that_are_no_text():
    name = os.fsdecode(b"caf\xe9.jpg")
    assert os.fsencode(PackedStrings([name, "b"])[0]) == b"caf\xe9.jpg"


def test_outside_and_nul():
    packed = PackedStrings(["a", "b"])
    for index in (2, -1):
        with pytest.raises(IndexError, match=r"outside 0\.\.1"):
            packed[index]
    with pytest.raises(InputError, match=r"list\.txt: 'x\\x00y' is a name with the character NUL"):
        PackedStrings(["a", "x\0y"], "list.txt")


def test_nothing_but_the_bytes_is_kept():
    packed = PackedStrings(f"{number:07d}" for number in range(100_000))
    assert packed.buffer.nbytes == 100_000 * 8
    assert packed.ends.dtype == np.int64
    assert packed.ends.nbytes == 100_000 * 8
