"""From a batch of uint8 views to normalised float views on the model's device."""
from collections.abc import Sequence
from typing import Any

import torch
from mmengine.model import BaseDataPreprocessor
from torch import Tensor

from mmsscl.errors import InputError
from mmsscl.models.augment import apply_photometric_
from mmsscl.registry import MODELS
from mmsscl.structures.photometric import NUM_PHOTOMETRIC

# On a CPU the chain runs on so many bytes at a time that they and the temporaries stay in the core's cache.
_CPU_CHUNK_BYTES = 1 << 20


@MODELS.register_module()
class PairDataPreprocessor(BaseDataPreprocessor):
    """Moves a batch of view pairs to the device, applies the photometric chain there and normalises.

    Views travel as uint8, a quarter of the bytes. The photometric parameters must still lie on the CPU (as the data
    loader gives them): which image needs which operation is read there, so the device is never waited for.

    Args:
        mean: of the red, green and blue channel, on the scale 0..255.
        std: likewise.
        augment: False: normalise only, even in training.
        channels_last: give the views in channels-last memory.
        non_blocking: copy to the device without waiting (needs pinned memory to have an effect).

    Raises:
        InputError: ``mean`` or ``std`` are not three numbers, or a ``std`` is not above 0.

    Example:
        >>> preprocessor = PairDataPreprocessor()
        >>> batch = preprocessor(dict(inputs=[views1, views2], pairs=dict(photometric=parameters)), training=True)
        >>> batch["inputs"][0].dtype
        torch.float32
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        mean: Sequence[float] = (123.675, 116.28, 103.53),
        std: Sequence[float] = (58.395, 57.12, 57.375),
        augment: bool = True,
        channels_last: bool = False,
        non_blocking: bool = True,
    ) -> None:
        super().__init__(non_blocking=non_blocking)
        for name, values in (("mean", mean), ("std", std)):
            if not isinstance(values, Sequence) or isinstance(values, str) or len(values) != 3:
                raise InputError(f"PairDataPreprocessor.{name} is {values!r}; give three numbers: red, green, blue.")
        if min(std) <= 0:
            raise InputError(f"PairDataPreprocessor.std is {std!r}; every value must be above 0.")
        self.augment = augment
        self.channels_last = channels_last
        self.register_buffer("mean", torch.tensor(mean, dtype=torch.float32).view(-1, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std, dtype=torch.float32).view(-1, 1, 1), persistent=False)

    def forward(self, data: dict[str, Any], training: bool = False) -> dict[str, Any]:
        """Preprocesses a collated batch.

        Args:
            data: ``inputs``: two uint8 (B, 3, H, W); ``pairs`` (may be absent): tensors, among them ``photometric``
                (B, 2, P). Without ``photometric`` the views are only normalised. Local crops, ``local_views`` uint8
                (B, L, 3, s, s), pass the same chain with ``local_photometric`` (B, L, P).
            training: apply the photometric chain. Without it the output is ``(views - mean) / std`` to the last bit,
                as mmpretrain and mmdet compute it.

        Returns:
            The same dict, ``inputs`` as two float32 (B, 3, H, W), ``local_views`` as float32 (B, L, 3, s, s), every
            tensor on the model's device.

        Raises:
            InputError: The batch is not of this form.
        """
        views = _check_views(data)
        pairs = data.get("pairs")
        photometric = pairs.get("photometric") if pairs is not None else None
        batch = dict(self.cast_data({key: value for key, value in data.items() if key != "inputs"}))
        if not (training and self.augment):
            photometric = None
        elif photometric is not None:
            _check_photometric("photometric", photometric, (len(views[0]), 2))
            # The rows of view 1 first, then those of view 2: the order of the views in the buffer.
            photometric = photometric.transpose(0, 1).flatten(0, 1)
        batch["inputs"] = list(self._process(views, photometric).chunk(2))
        if pairs is not None and "local_views" in pairs:
            photometric = pairs.get("local_photometric") if training and self.augment else None
            # those on the device already: they are as many bytes as a view
            crops = batch["pairs"]["local_views"]
            batch["pairs"]["local_views"] = self._process_local(crops, photometric, len(views[0]))
        return batch

    def _process_local(self, crops: Any, photometric: Any, batch_size: int) -> Tensor:
        """float32 (B, L, 3, s, s)."""
        if (
            not isinstance(crops, Tensor)
            or crops.dtype != torch.uint8
            or crops.ndim != 5
            or crops.shape[2] != 3
            or crops.shape[0] != batch_size
            or crops.shape[1] < 1
        ):
            raise InputError(
                f"PairDataPreprocessor: data['pairs']['local_views'] is {_describe(crops)}; expected uint8 "
                f"({batch_size}, L, 3, s, s) as LocalCrops cuts them."
            )
        if photometric is not None:
            _check_photometric("local_photometric", photometric, crops.shape[:2])
            photometric = photometric.flatten(0, 1)
        return self._process([crops.flatten(0, 1)], photometric).unflatten(0, crops.shape[:2])

    @torch.no_grad()
    def _process(self, views: Sequence[Tensor], photometric: Tensor | None) -> Tensor:
        """float32 (images of all ``views`` together, 3, H, W). One buffer: half as many launches on a GPU."""
        pixels = torch.cat([view.to(self.device, non_blocking=self._non_blocking) for view in views])
        images = torch.empty(pixels.shape, dtype=torch.float32, device=pixels.device)
        step = len(images)
        if images.device.type == "cpu":
            step = max(1, _CPU_CHUNK_BYTES // (images[0].numel() * images.element_size()))
        for start in range(0, len(images), step):
            chunk = images[start : start + step].copy_(pixels[start : start + step])
            if photometric is not None:
                apply_photometric_(chunk, photometric[start : start + step])
            chunk.sub_(self.mean).div_(self.std)
        return images.contiguous(memory_format=torch.channels_last) if self.channels_last else images


def _check_views(data: dict[str, Any]) -> Sequence[Tensor]:
    views = data.get("inputs")
    if not isinstance(views, Sequence) or not all(isinstance(view, Tensor) for view in views):
        raise InputError(
            f"PairDataPreprocessor: data['inputs'] is {_describe(views)}; expected two uint8 tensors (B, 3, H, W). "
            "End the pipeline with PackPair and collate with collate_fn=dict(type='default_collate')."
        )
    if len(views) != 2:
        raise InputError(
            f"PairDataPreprocessor: data['inputs'] holds {len(views)} views; expected exactly two. "
            "If they are samples rather than views, set collate_fn=dict(type='default_collate') in the data loader."
        )
    for index, view in enumerate(views):
        if view.dtype != torch.uint8 or view.ndim != 4 or view.shape[1] != 3:
            raise InputError(
                f"PairDataPreprocessor: data['inputs'][{index}] is {_describe(view)}; expected uint8 (B, 3, H, W). "
                "Do not normalise or convert in the pipeline: that happens here."
            )
    if views[0].shape != views[1].shape:
        raise InputError(
            f"PairDataPreprocessor: the two views differ in shape, {tuple(views[0].shape)} and "
            f"{tuple(views[1].shape)}; both need the same size."
        )
    return views


def _check_photometric(key: str, photometric: Any, leading: Sequence[int]) -> None:
    expected = (*leading, NUM_PHOTOMETRIC)
    if not isinstance(photometric, Tensor) or photometric.shape != expected:
        raise InputError(
            f"PairDataPreprocessor: data['pairs'][{key!r}] is {_describe(photometric)}; expected float32 "
            f"{expected} as DrawPhotometric draws it."
        )


def _describe(value: Any) -> str:
    if isinstance(value, Tensor):
        return f"{str(value.dtype).removeprefix('torch.')} {tuple(value.shape)}"
    if isinstance(value, Sequence) and not isinstance(value, str):
        return f"a {type(value).__name__} of {', '.join(sorted({type(item).__name__ for item in value}))}"
    return f"a {type(value).__name__}"
