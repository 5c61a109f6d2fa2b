"""``--cfg-options KEY=VALUE``."""
import argparse
import ast
from collections.abc import Sequence
from typing import Any

from mmengine.config import DictAction


class KeyValueAction(DictAction):
    """mmengine's ``DictAction``, which says what is wrong with a word that has no ``=``, and takes dictionaries.

    A value with braces is a Python literal: ``visualizer.vis_backends=[{'type':'TensorboardVisBackend'}]``.
    """

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: str | Sequence[Any] | None,
        option_string: str | None = None,
    ) -> None:
        """Take the words in.

        Raises:
            argparse.ArgumentError: One is not of the form KEY=VALUE.
        """
        words = [values] if isinstance(values, str) else list(values or [])
        wrong = [word for word in words if "=" not in word or word.startswith("=")]
        if wrong:
            raise argparse.ArgumentError(self, f"{wrong[0]!r} is not of the form KEY=VALUE, e.g. model.type=SCRL")
        super().__call__(parser, namespace, values, option_string)

    @staticmethod
    def _parse_iterable(val: str) -> Any:
        if "{" not in val:
            return DictAction._parse_iterable(val)
        try:
            return ast.literal_eval(val)
        except (ValueError, SyntaxError):
            # braces of a format string or a pattern
            return DictAction._parse_iterable(val)
