"""Ask a server for a file, and say in plain words why it cannot be had."""
import time
from collections.abc import Callable, Mapping
from http.client import HTTPException, HTTPMessage, InvalidURL
from typing import IO, Any, TypeVar
from urllib.error import HTTPError, URLError
from urllib.parse import urlparse
from urllib.request import HTTPRedirectHandler, Request, build_opener

from mmsscl.errors import InputError
from mmsscl.version import __version__
from mmsscl.zoo.address import WEB_SCHEMES, parse_url, path_of, shown

MIRROR_VARIABLE = "MMSSCL_ZOO"
"""Environment variable: base URL of a mirror."""

TIMEOUT = 30.0
"""Seconds without a byte after which a connection counts as broken."""
ATTEMPTS = 5
"""Tries in a row that bring nothing new, after which a transfer is given up."""
PAUSE = 0.5
"""Seconds before the next try; doubled for each that brought nothing new."""

_PASSING = (408, 425, 429, 500, 502, 503, 504)

Given = TypeVar("Given")


class NotThereError(InputError):
    """The server, or the folder, has no such file."""


class UnreachableError(InputError):
    """No network, no such host, nobody listens there, or it does not answer."""


class InterruptedTransferError(Exception):
    """The connection broke, or the server is busy: trying again may help."""


class _WebRedirects(HTTPRedirectHandler):
    """Follows no redirection to ftp, as urllib's does."""

    def redirect_request(
        self, req: Request, fp: IO[bytes], code: int, msg: str, headers: HTTPMessage, newurl: str
    ) -> Request | None:
        if urlparse(newurl).scheme not in WEB_SCHEMES:
            raise HTTPError(req.full_url, code, f"{msg}, to {newurl}", headers, fp)
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def open_url(url: str, headers: Mapping[str, str] | None = None) -> Any:
    """Ask for a URL of scheme http or https.

    Args:
        url: The address; redirections to such ones are followed.
        headers: Of the request, besides our own.

    Returns:
        The response, to be closed: status 200; 206 or 416 where a range was asked for.

    Raises:
        NotThereError: 404 or 410.
        UnreachableError: No such host, nobody listens there, no network.
        InputError: Not allowed, or no address.
        InterruptedTransferError: The connection broke or the server is busy.
    """
    parse_url(url)
    headers = headers or {}
    answers = (200, 206, 416) if "Range" in headers else (200,)
    request = Request(url, headers={"User-Agent": f"mmsscl/{__version__}", "Accept-Encoding": "identity", **headers})
    try:
        # an opener of its own: the common one keeps the proxies that were named when it was first asked
        response = build_opener(_WebRedirects).open(request, timeout=TIMEOUT)
    except HTTPError as error:
        response = error
    except URLError as error:
        # what breaks in mid-air, not what was never there
        if isinstance(error.reason, (ConnectionResetError, BrokenPipeError)):
            raise InterruptedTransferError(f"connection lost ({error.reason})") from error
        raise UnreachableError(
            f"{url}: {urlparse(url).hostname} cannot be reached ({error.reason}). Check the address, the network and "
            "proxies (http_proxy, https_proxy), or name a mirror, or a folder that you copied the file into: "
            f"{MIRROR_VARIABLE}=file:///FOLDER"
        ) from error
    except (InvalidURL, ValueError) as error:
        raise InputError(f"{url}: is no address, or leads to none ({error}).") from error
    except (OSError, HTTPException) as error:
        raise InterruptedTransferError(f"connection lost ({error or type(error).__name__})") from error
    if response.status in answers:
        return response
    response.close()
    if response.status in _PASSING:
        raise InterruptedTransferError(f"the server answers {response.status} ({response.reason})")
    raise _refused(url, response.status, " ".join(str(response.reason).split()))


def insist(attempt: Callable[[], Given], say: Callable[[str], None], advanced: Callable[[], bool] = lambda: False) -> Given:
    """Try until it works.

    Args:
        attempt: Raises :class:`InterruptedTransferError` where another try may help.
        say: Is told of interruptions.
        advanced: Whether a try that was interrupted brought something new.

    Raises:
        InterruptedTransferError: :data:`ATTEMPTS` in a row brought nothing new.
    """
    failures = 0
    while True:
        try:
            return attempt()
        except InterruptedTransferError as error:
            failures = 0 if advanced() else failures + 1
            if failures == ATTEMPTS:
                raise
            say(f"{error}; trying again")
            time.sleep(PAUSE * 2**failures)


def read_text(url: str, limit: int = 4_000_000, say: Callable[[str], None] = lambda _: None) -> str:
    """A small text file at a URL, whole.

    Args:
        url: Of scheme http, https or file.
        limit: In bytes; a longer file is refused.
        say: Is told of interruptions.

    Raises:
        NotThereError: There is none.
        UnreachableError: The server cannot be reached, or the connection broke, again and again.
        InputError: It cannot be read, is too long, or no UTF-8 text.
    """
    path = path_of(url)
    try:
        if path is not None:
            with path.open("rb") as stream:
                content = stream.read(limit + 1)
        else:
            content = insist(lambda: _read(url, limit), lambda fault: say(f"{url}: {fault}"))
        if len(content) > limit:
            raise InputError(f"{url}: is longer than {limit:,} bytes, which no metafile is.")
        return content.decode("utf-8")
    except (FileNotFoundError, NotADirectoryError) as error:
        raise NotThereError(f"{shown(url)}: no such file.") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{shown(url)}: is no UTF-8 text ({error.reason}).") from error
    except InterruptedTransferError as error:
        raise UnreachableError(f"{url}: cannot be read ({error}). Try again.") from error
    except OSError as error:
        raise InputError(f"{shown(url)}: cannot be read ({error}). Check the path, and its permissions.") from error


def _read(url: str, limit: int) -> bytes:
    with open_url(url) as response:
        try:
            content: bytes = response.read(limit + 1)
        except (OSError, HTTPException) as error:
            raise InterruptedTransferError(f"connection lost ({error or type(error).__name__})") from error
        # unlike a read without limit, this one takes what came before a cut for all
        if len(content) <= limit and response.length:
            raise InterruptedTransferError(f"connection lost {response.length:,} bytes before the end")
    return content


def _refused(url: str, code: int, reason: str) -> InputError:
    if code in (404, 410):
        return NotThereError(
            f"{url}: is not there (the server answers {code} {reason}). It may have moved: look for another address, or "
            f"name a mirror that has it: {MIRROR_VARIABLE}=https://HOST/FOLDER"
        )
    return InputError(f"{url}: the server refuses (it answers {code} {reason}). Fetch it by other means, or name a mirror.")
