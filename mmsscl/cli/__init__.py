"""The command line: ``mmsscl <verb>``; a file a verb. ``tools/*.py`` call the same functions."""
from mmsscl.cli.program import main

__all__ = ["main"]
