"""The command line of a tool that is no verb of ``mmsscl``."""
import argparse
import sys
from collections.abc import Callable, Sequence

from mmsscl.errors import InputError


def run_tool(
    text: str | None,
    add_arguments: Callable[[argparse.ArgumentParser], None],
    run: Callable[[argparse.Namespace], str],
    arguments: Sequence[str] | None = None,
) -> int:
    """Parse, run, and print what the tool says.

    Args:
        text: The tool's docstring, shown by ``--help``.
        add_arguments: Adds its arguments to the parser.
        run: Does the work and returns what to print.
        arguments: The command line; None: the process's.

    Returns:
        The exit status: 0, or 2 for bad input, whose message goes to standard error.
    """
    parser = argparse.ArgumentParser(description=text, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_arguments(parser)
    options = parser.parse_args(arguments)
    try:
        told = run(options)
    except InputError as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    sys.stdout.write(f"{told}\n")
    return 0
