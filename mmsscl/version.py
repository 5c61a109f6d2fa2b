"""The version of mmsscl: read by setup.py, shown by ``mmsscl --version``, written into exported backbones."""

__version__ = "0.1.0"
