"""A run as one page of HTML: ``mmsscl report``."""
from mmsscl.visualization.report.write_report import write_report

__all__ = ["write_report"]
