"""Addresses: what may stand in a metafile or in ``MMSSCL_ZOO``, and what it means."""
import re
from pathlib import Path
from urllib.parse import ParseResult, unquote, urlparse
from urllib.request import url2pathname

from mmsscl.errors import InputError

WEB_SCHEMES = ("http", "https")
URL_SCHEMES = (*WEB_SCHEMES, "file")


def is_url(text: str) -> bool:
    """Whether ``text`` begins with a scheme, as ``http://``.

    Example:
        >>> is_url("https://host/backbone.pth"), is_url("folder/backbone.pth")
        (True, False)
    """
    return re.match(r"[A-Za-z][A-Za-z0-9+.-]*:", text) is not None


def parse_url(url: str) -> ParseResult:
    """The parts of an address of scheme http, https or file.

    Raises:
        InputError: It is none, or holds a user's name or password, which would end up in messages and records.
    """
    # what stands before an @ is never repeated: it may be a password
    told = f"...@{url.rpartition('@')[2]}" if "@" in url else url
    try:
        parts = urlparse(url)
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise InputError(f"{told}: is no address: its host or port is malformed. Use http://HOST:PORT/PATH.") from error
    if parts.scheme not in URL_SCHEMES:
        raise InputError(f"{told}: is no address of http://, https:// or file:///.")
    if "@" in parts.netloc:
        raise InputError(f"{told}: passwords in addresses are not taken. Take it out, and let the server know this machine.")
    if parts.scheme in WEB_SCHEMES and (not host or port == 0):
        raise InputError(f"{told}: is no address: it names no host. Use {parts.scheme}://HOST/PATH.")
    if parts.scheme in WEB_SCHEMES and re.search(r"[\x00-\x20\x7f]", url) is not None:
        raise InputError(f"{told!r}: is no address, because of the space in it. Write %20 for it.")
    return parts


def path_of(url: str) -> Path | None:
    """The path that a URL of scheme file means; None: it is of another scheme.

    Raises:
        InputError: It is no address, or names another machine.

    Example:
        >>> path_of("file:///zoo/a%20b.pth"), path_of("http://host/b.pth")
        (PosixPath('/zoo/a b.pth'), None)
    """
    parts = parse_url(url)
    if parts.scheme != "file":
        return None
    if parts.netloc not in ("", "localhost"):
        raise InputError(f"{url}: names the machine {parts.netloc!r}. A folder of this one has three slashes: file:///FOLDER")
    return Path(url2pathname(parts.path))


def file_name_of(url: str) -> str:
    """The last part of a URL's path, decoded.

    Raises:
        InputError: It is no address.

    Example:
        >>> file_name_of("http://host/zoo/scrl%2B.pth?x=1")
        'scrl+.pth'
    """
    return unquote(parse_url(url).path.rsplit("/", 1)[-1])


def shown(url: str) -> str:
    """How to write a URL in a message: of a file, its path."""
    path = path_of(url)
    return url if path is None else str(path)
