"""What mmengine's text log of one process tells: when, on what, resumed from where, how far, and its warnings."""
import re
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

_LINE = re.compile(r"(\d{4}/\d\d/\d\d \d\d:\d\d:\d\d) - \S+ - ([A-Z]+) - (.*)")
_RESUMED = re.compile(r"resumed epoch: (\d+), iter: (\d+)")
_SAVED = re.compile(r"Saving checkpoint at (\d+) (epochs|iterations)")
_PROGRESS = re.compile(r"(?:Epoch|Iter)\(train\)\s+(?:\[\d+\])?\[\s*\d+/(\d+)\]")
_VERSIONS = re.compile(r"mmsscl [^\s,]+, commit [^\s,]+(?:, [\w-]+ [^\s,]+)*")
_FACT = re.compile(r"    ([A-Za-z][\w, ]*): (.+)")
_RULE = re.compile(r"-{20,}")
_STOPPED = "leaving with exit code"
_MOST_LINES = 20


@dataclass
class LogFacts:
    """What a log says.

    Attributes:
        first, last: Times of its first and last line; None: it has no line of mmengine's.
        facts: mmengine's table of the environment ("PyTorch", "GPU 0", "Distributed launcher", ...), as it stands there.
        resumed_at: Iterations done before this process; None: it began anew.
        saved: (number, "epochs" or "iterations") of the last checkpoint saved.
        length: Iterations of an epoch, or of the run where the loop counts iterations.
        stopped: Whether a signal ended it and it saved before.
        warnings: (time, level, text), in order; of a text of many lines the first ones.
    """

    first: datetime | None = None
    last: datetime | None = None
    facts: dict[str, str] = field(default_factory=dict)
    resumed_at: int | None = None
    saved: tuple[int, str] | None = None
    length: int | None = None
    stopped: bool = False
    warnings: list[tuple[datetime, str, str]] = field(default_factory=list)


def read_log(file: Path) -> LogFacts:
    """Read a log as far as it is written; lines of other programs are passed over.

    Args:
        file: The ``.log`` of one process. Bytes that are no UTF-8 are kept as escapes.
    """
    told = LogFacts()
    rules, continued = 0, 0
    with file.open(encoding="utf-8", errors="backslashreplace") as lines:
        for line in lines:
            match = _LINE.match(line)
            time = _time(match[1]) if match is not None else None
            if match is not None and time is not None:
                told.first = told.first or time
                told.last = time
                warnings = len(told.warnings)
                _take(told, time, match[2], match[3])
                continued = _MOST_LINES if len(told.warnings) > warnings else 0
            elif _RULE.fullmatch(line.rstrip("\n")):
                # mmengine's table of the environment stands between the first two
                rules += 1
            elif rules == 1 and (fact := _FACT.fullmatch(line.rstrip("\n"))):
                told.facts.setdefault(fact[1], fact[2].strip())
            elif continued:
                continued -= 1
                begun, level, text = told.warnings[-1]
                told.warnings[-1] = begun, level, f"{text}\n{line}".rstrip()
    return told


def _time(text: str) -> datetime | None:
    try:
        return datetime.fromisoformat(text.replace("/", "-"))
    except ValueError:
        return None


def _take(told: LogFacts, time: datetime, level: str, text: str) -> None:
    if resumed := _RESUMED.search(text):
        told.resumed_at = int(resumed[2])
    elif saved := _SAVED.search(text):
        told.saved = int(saved[1]), saved[2]
    elif progress := _PROGRESS.match(text):
        told.length = int(progress[1])
    elif _VERSIONS.fullmatch(text):
        for pair in text.split(", "):
            name, _, told.facts[name] = pair.partition(" ")
    if level not in ("INFO", "DEBUG"):
        told.stopped = told.stopped or _STOPPED in text
        told.warnings.append((time, level, text.strip()))
