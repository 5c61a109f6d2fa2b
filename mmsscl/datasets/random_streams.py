"""Named random streams of one sample in one epoch."""
import hashlib
from typing import Any

import numpy as np
from numpy.random.bit_generator import ISeedSequence


class _HashedSeed(ISeedSequence):
    """Seeds a bit generator with the BLAKE2b digest of a message.

    A cryptographic digest separates messages that differ in one bit as well as numpy's ``SeedSequence`` does, and
    costs a tenth of it.
    """

    def __init__(self, message: bytes) -> None:
        self.message = message

    def generate_state(self, n_words: int, dtype: Any = np.uint32) -> np.ndarray:
        words = np.dtype(dtype)
        digest = hashlib.blake2b(self.message, digest_size=n_words * words.itemsize).digest()
        return np.frombuffer(digest, dtype=words.newbyteorder("<")).astype(words, copy=False)


class RandomStreams:
    """Independent random generators of one sample, one for each named purpose.

    A stream is a function of (seed, epoch, index, name) and of nothing else: not of the worker, the rank, the process
    or the order of use. So a draw added to one purpose changes no other, and a batch is the same for any number of
    workers.

    Args:
        seed: The run's seed.
        epoch: The epoch, from 0.
        index: The sample's index into the dataset.

    Example:
        >>> streams = RandomStreams(seed=0, epoch=3, index=17)
        >>> crop_law.sample((480, 640), streams.stream("crop"))
    """

    def __init__(self, seed: int, epoch: int, index: int) -> None:
        self.seed = int(seed)
        self.epoch = int(epoch)
        self.index = int(index)
        self._generators: dict[str, np.random.Generator] = {}

    def stream(self, name: str) -> np.random.Generator:
        """The generator for one purpose; a second call with the same name goes on where the first stopped.

        Args:
            name: The purpose: ``"crop"``, ``"box"``, ``"photometric"``, ...

        Returns:
            A numpy generator (PCG64DXSM).
        """
        generator = self._generators.get(name)
        if generator is None:
            message = f"{self.seed}:{self.epoch}:{self.index}:{name}".encode()
            generator = np.random.Generator(np.random.PCG64DXSM(_HashedSeed(message)))  # type: ignore[arg-type]
            self._generators[name] = generator
        return generator

    def __repr__(self) -> str:
        return f"RandomStreams(seed={self.seed}, epoch={self.epoch}, index={self.index})"
