"""Ask a server for a file, and say in plain words why it cannot be had."""
from collections.abc import Mapping
from http.client import HTTPException
from pathlib import Path
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import urlparse
from urllib.request import Request, url2pathname, urlopen

from mmsscl.errors import InputError
from mmsscl.version import __version__

MIRROR_VARIABLE = "MMSSCL_ZOO"
"""Environment variable: base URL of a mirror."""

TIMEOUT = 30.0
"""Seconds without a byte after which a connection counts as broken."""

_PASSING = (408, 425, 429, 500, 502, 503, 504)


class NotThereError(InputError):
    """The server, or the folder, has no such file."""


class UnreachableError(InputError):
    """No network, no such host, nobody listens there, or it does not answer."""


class InterruptedTransferError(Exception):
    """The connection broke, or the server is busy: trying again may help."""


def open_url(url: str, headers: Mapping[str, str] | None = None) -> Any:
    """Ask for a URL of scheme http or https.

    Args:
        url: The address; redirections are followed.
        headers: Of the request, besides our own.

    Returns:
        The response, to be closed: status 200, 206 or 416.

    Raises:
        NotThereError: 404 or 410.
        UnreachableError: No such host, nobody listens there, no network.
        InputError: Not allowed, or no address.
        InterruptedTransferError: The connection broke or the server is busy.
    """
    request = Request(url, headers={"User-Agent": f"mmsscl/{__version__}", "Accept-Encoding": "identity", **(headers or {})})
    try:
        return urlopen(request, timeout=TIMEOUT)
    except HTTPError as error:
        if error.code == 416:
            return error
        error.close()
        if error.code in _PASSING:
            raise InterruptedTransferError(f"the server answers {error.code} ({error.reason})") from error
        raise _refused(url, error.code, str(error.reason)) from error
    except URLError as error:
        # what breaks in mid-air, not what was never there
        if isinstance(error.reason, (ConnectionResetError, BrokenPipeError)):
            raise InterruptedTransferError(f"connection lost ({error.reason})") from error
        raise UnreachableError(
            f"{url}: {urlparse(url).hostname} cannot be reached ({error.reason}). Check the address, the network and "
            "proxies (http_proxy, https_proxy), or name a mirror, or a folder that you copied the file into: "
            f"{MIRROR_VARIABLE}=file:///FOLDER"
        ) from error
    except (OSError, HTTPException) as error:
        raise InterruptedTransferError(f"connection lost ({error or type(error).__name__})") from error
    except ValueError as error:
        raise InputError(f"{url}: is no address ({error}). Use http://, https:// or file:///.") from error


def path_of(url: str) -> Path | None:
    """The path that a URL of scheme file means; None: it is of another scheme.

    Raises:
        InputError: It names another machine.

    Example:
        >>> path_of("file:///zoo/a%20b.pth"), path_of("http://host/b.pth")
        (PosixPath('/zoo/a b.pth'), None)
    """
    parts = urlparse(url)
    if parts.scheme != "file":
        return None
    if parts.netloc not in ("", "localhost"):
        raise InputError(f"{url}: names the machine {parts.netloc!r}. A folder of this one has three slashes: file:///FOLDER")
    return Path(url2pathname(parts.path))


def read_text(url: str, limit: int = 4_000_000) -> str:
    """A small text file at a URL.

    Args:
        url: Of scheme http, https or file.
        limit: In bytes; a longer file is refused.

    Raises:
        NotThereError: There is none.
        UnreachableError: The server cannot be reached, or the connection broke.
        InputError: It cannot be read, is too long, or no UTF-8 text.
    """
    path = path_of(url)
    try:
        if path is not None:
            with path.open("rb") as stream:
                content = stream.read(limit + 1)
        else:
            with open_url(url) as response:
                content = response.read(limit + 1)
        if len(content) > limit:
            raise InputError(f"{url}: is longer than {limit:,} bytes, which no metafile is.")
        return content.decode("utf-8")
    except (FileNotFoundError, NotADirectoryError) as error:
        raise NotThereError(f"{shown(url)}: no such file.") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{shown(url)}: is no UTF-8 text ({error.reason}).") from error
    except (OSError, HTTPException, InterruptedTransferError) as error:
        kind = InputError if path is not None else UnreachableError
        raise kind(f"{shown(url)}: cannot be read ({error}). Try again.") from error


def shown(url: str) -> str:
    """How to write a URL in a message: of a file, its path."""
    path = path_of(url)
    return url if path is None else str(path)


def _refused(url: str, code: int, reason: str) -> InputError:
    if code in (404, 410):
        return NotThereError(
            f"{url}: is not there (the server answers {code} {reason}). It may have moved: look for another address, or "
            f"name a mirror that has it: {MIRROR_VARIABLE}=https://HOST/FOLDER"
        )
    return InputError(f"{url}: the server refuses (it answers {code} {reason}). Fetch it by other means, or name a mirror.")
