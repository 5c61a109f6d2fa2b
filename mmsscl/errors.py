"""The error that users, not developers, cause and can mend."""


class InputError(ValueError):
    """Bad user input: a path, a file, a config value or a command line.

    The message says what is wrong, where (file, key, value) and what to do about it; the command line prints it
    without a traceback and exits with status 2.

    Example:
        >>> raise InputError("no images under photos/ (looked for .jpg, .jpeg, .png, .webp, at any depth). "
        ...                  "Point data_root at the folder that holds your photos.")
        Traceback (most recent call last):
        mmsscl.errors.InputError: no images under photos/ ...
    """


class UnreadableImageError(InputError):
    """An image file that is absent, damaged or in no known format: one photo's fault, which a run may survive."""
