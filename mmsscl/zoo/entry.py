"""One model of the zoo: what its metafile says."""
import re
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import quote

from mmsscl.zoo.address import file_name_of, is_url

SHIPPED, OWN, MIRROR = "shipped", "own", "mirror"
"""Where an entry was read: beside the package's configs, in the user's zoo, at ``MMSSCL_ZOO``."""

PLAIN_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._+-]{0,199}")
"""Names of models and of their files: nothing that could lead out of a folder."""


@dataclass(frozen=True)
class Result:
    """One measurement.

    Attributes:
        task: For example "Object Detection".
        dataset: What it was measured on.
        metrics: Name to figure.
        source: Who measured it, and where that is said; None: this package's authors, on this page's commands.
    """

    task: str
    dataset: str
    metrics: dict[str, Any]
    source: str | None = None


@dataclass(frozen=True)
class Entry:
    """A model of the zoo.

    Attributes:
        name: Unique in its zoo.
        base: URL of the folder that its zoo's ``model-index.yml`` lies in.
        kind: :data:`SHIPPED`, :data:`OWN` or :data:`MIRROR`.
        place: Path or URL of its metafile, for messages.
        method: Name of its collection, for example "SCRL".
        config: Of the recipe, relative to ``base``.
        metadata: The metafile's, the collection's included.
        results: As measured.
        weights: URL, or path relative to ``base``; None: there is no file.
        sha256: Of that file, in hexadecimal; None: nobody here knows it.
        layout: Of that file, where it must be converted, by its name in ``layouts.LAYOUTS``, for example "scrl".
        built_by: The command that makes the weights.
    """

    name: str
    base: str
    kind: str
    place: str
    method: str | None = None
    config: str | None = None
    metadata: dict[str, Any] = field(default_factory=dict)
    results: tuple[Result, ...] = ()
    weights: str | None = None
    sha256: str | None = None
    layout: str | None = None
    built_by: str | None = None

    @property
    def url(self) -> str:
        """Where the weights are; only of entries that have some."""
        if self.weights is None:
            raise ValueError(f"{self.name} has no weights")
        return self.weights if is_url(self.weights) else f"{self.base.rstrip('/')}/{quote(self.weights)}"

    @property
    def made_by(self) -> str | None:
        """The command that makes such weights; None: nothing tells."""
        return self.built_by or (f"mmsscl train {self.config}" if self.config else None)

    @property
    def file_name(self) -> str:
        """Of the weights, without folders."""
        return file_name_of(self.url)

    @property
    def status(self) -> str:
        """What can be had, in one or two words: verified, local, unverified, built by a command, recipe, no weights."""
        if self.weights is None:
            return "built by a command" if self.built_by else "recipe" if self.config else "no weights"
        if self.sha256 is None:
            return "unverified"
        return "local" if self.kind == OWN else "verified"


def escapes(path: str) -> bool:
    """Whether a relative path of a metafile leads, or might lead, out of its folder.

    Example:
        >>> [escapes(path) for path in ("a/b.pth", "../b.pth", "/b.pth", "a/../../b.pth", "~/b.pth")]
        [False, True, True, True, True]
    """
    parts = PurePosixPath(path).parts
    return not parts or "\\" in path or any(PLAIN_NAME.fullmatch(part) is None for part in parts)
