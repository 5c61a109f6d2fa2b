"""The layout of the photometric row."""
import numpy as np

from mmsscl.structures import JITTER_OPS, JITTER_ORDERS, NUM_PHOTOMETRIC, PhotometricColumn, identity_photometric


def test_columns_are_numbered_without_gaps() -> None:
    assert sorted(PhotometricColumn) == list(range(NUM_PHOTOMETRIC))


def test_orders_are_all_permutations_of_the_four_operations() -> None:
    assert len(set(JITTER_ORDERS)) == 24
    assert all(sorted(order) == sorted(JITTER_OPS) for order in JITTER_ORDERS)


def test_identity_row_turns_everything_off() -> None:
    row = identity_photometric()
    assert row.dtype == np.float32
    assert row.shape == (NUM_PHOTOMETRIC,)
    assert row.tolist() == [-1, 1, 1, 1, 0, 0, 1, 0, 256]
