"""Parsers of verbs: filled when they are needed, with positional arguments anywhere."""
import argparse
from collections.abc import Callable, Mapping
from typing import NamedTuple

Fill = Callable[[argparse.ArgumentParser], None]
Run = Callable[[argparse.Namespace], int]


class SubVerb(NamedTuple):
    """A verb's verb, such as ``knn`` of ``eval``.

    Attributes:
        help: One line, in lower case.
        examples: Shown below ``--help``.
        arguments: Adds its arguments to a parser.
        run: Does it; returns the exit status. None for a verb that only has sub-verbs.
    """

    help: str
    examples: str
    arguments: Fill
    run: Run | None


class VerbParser(argparse.ArgumentParser):
    """A verb's parser.

    Its arguments are added once it is asked for: they import the verb's libraries, and only the verb that runs pays. It
    takes positional arguments between and after options, as in ``CONFIG --out X CHECKPOINT``; argparse hands a verb's words
    to ``parse_known_args``, which gives up on a second group of positional arguments.
    """

    _fill: Fill | None = None
    _intermixing = False

    def fill_with(self, fill: Fill) -> None:
        """Let a function add the arguments before the first words are parsed."""
        self._fill = fill

    def parse_known_args(self, args=None, namespace=None):  # type: ignore[no-untyped-def]
        if self._fill is not None:
            fill, self._fill = self._fill, None
            fill(self)
        # parse_known_intermixed_args calls this method in turn, up to Python 3.11; it does not know sub-verbs
        if self._intermixing or self._subparsers is not None:
            return super().parse_known_args(args, namespace)
        self._intermixing = True
        try:
            return self.parse_known_intermixed_args(args, namespace)
        finally:
            self._intermixing = False


def add_verb(verbs: "argparse._SubParsersAction[VerbParser]", name: str, verb: SubVerb) -> None:
    """Add a verb to a parser's verbs.

    Args:
        verbs: What ``add_subparsers(parser_class=VerbParser)`` returned.
        name: What the user types.
        verb: Its text and functions.
    """
    parser = verbs.add_parser(
        name, help=verb.help, description=f"{verb.help[0].upper()}{verb.help[1:]}.", epilog=verb.examples,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.set_defaults(run=verb.run)
    parser.fill_with(verb.arguments)


def add_sub_verbs(parser: argparse.ArgumentParser, verbs: Mapping[str, SubVerb], default: Run | None = None) -> None:
    """Give a verb verbs of its own.

    Args:
        parser: The verb's.
        verbs: Name to sub-verb, in the order of the help.
        default: What the verb does by itself; None: a sub-verb must be given.
    """
    action = parser.add_subparsers(dest="sub_verb", metavar="WHAT", parser_class=VerbParser, required=default is None)
    if default is not None:
        parser.set_defaults(run=default)
    for name, verb in verbs.items():
        add_verb(action, name, verb)
