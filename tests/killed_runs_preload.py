"""What the server imports from which :mod:`tests.killed_runs` forks."""
import mmpretrain.models  # noqa: F401

import mmsscl.datasets
import mmsscl.engine.train
import mmsscl.models  # noqa: F401
