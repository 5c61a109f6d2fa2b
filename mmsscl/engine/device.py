"""Which device a command computes on."""
import torch

from mmsscl.errors import InputError


def pick_device(name: str | None) -> torch.device:
    """The device of a ``--device`` option, once it is known to work.

    Args:
        name: "cpu", "cuda", "cuda:1", ...; None: cuda if there is one, else cpu.

    Raises:
        InputError: there is no such device on this machine.

    Example:
        >>> pick_device("cpu")
        device(type='cpu')
    """
    try:
        device = torch.device(name or ("cuda" if torch.cuda.is_available() else "cpu"))
        # a name that torch knows may still have no hardware here
        torch.zeros(1, device=device).tolist()
    except (RuntimeError, AssertionError, ValueError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        present = ["cpu", *(f"cuda:{index}" for index in range(torch.cuda.device_count()))]
        raise InputError(f"--device {name}: cannot be used ({reason}). Here: {', '.join(present)}.") from error
    return device
