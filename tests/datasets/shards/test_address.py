import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmsscl.datasets.shards import TarAddress
from mmsscl.errors import InputError

PARTS = st.text(st.characters(exclude_characters="\0?", exclude_categories=["Cs"]), min_size=1)
NUMBERS = st.integers(0, 2**63 - 1)


@given(PARTS, NUMBERS, NUMBERS, PARTS)
def test_an_address_is_read_as_it_was_written(shard, offset, size, name):
    address = TarAddress(shard, offset, size, name)
    assert TarAddress.parse(str(address)) == address


def test_it_looks_like_a_path():
    address = str(TarAddress("/data/shards/photos-000000.tar", 1536, 48213, "train2017/1.jpg"))
    assert address == "tar:///data/shards/photos-000000.tar?offset=1536&size=48213/train2017/1.jpg"
    assert os.path.basename(address) == "1.jpg"


@pytest.mark.parametrize(
    "address", ["", "a.jpg", "tar://a.tar", "tar://a.tar/b.jpg", "tar://a.tar?offset=-1&size=3/b", "tar://?offset=1&size=3/b"]
)
def test_other_strings_are_refused(address):
    with pytest.raises(InputError, match="not the address of a photo in a tar file"):
        TarAddress.parse(address)
