"""The page: every part of a report as HTML, escaped, in one file."""
import json
import math
from collections.abc import Sequence
from html import escape
from importlib.resources import files
from typing import Any

from mmsscl.visualization.report.chart import Chart, draw, number
from mmsscl.visualization.report.facts import Fact, Warned, bad_photos, headline, warnings_of
from mmsscl.visualization.report.pictures import Gallery, Picture
from mmsscl.visualization.report.progress import progress_of
from mmsscl.visualization.report.read_run import Run
from mmsscl.visualization.report.results import ScoreTable

_MOST_BAD_PHOTOS = 20
_MOST_WARNINGS = 100
_MOST_TABLES = 24
_WIDE, _WIDE_ASPECT, _MOST_NARROW = ' class="wide"', 3.4, 3
# the page must not reach out, whatever gets into it
_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'"


def page(run: Run, charts: dict[str, list[Chart]], galleries: Sequence[Gallery], tables: Sequence[ScoreTable]) -> bytes:
    """A whole report.

    Args:
        run: The run.
        charts: By section, from ``charts_of``.
        galleries: From ``galleries_of``.
        tables: From ``last_validation`` and ``find_results``.

    Returns:
        A HTML document in UTF-8; characters that are none (of file names that are no text) as escapes.
    """
    hovers: list[dict[str, Any]] = []
    sections = [_charts(title, part, hovers) for title, part in charts.items()]
    if not charts:
        sections.append(_section("Curves", "<p>No figures were logged yet.</p>"))
    sections += [_resumes(run)] + [_gallery(gallery) for gallery in galleries]
    sections += [_results(tables), _warnings(run), _figures(run), _environment(run), _config(run)]
    sections = [section for section in sections if section]
    assets = files(__package__)
    name = run.folder.resolve().name
    progress = progress_of(run)
    state = "ended" if progress.ended else "unfinished"
    document = (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1"><meta name="color-scheme" content="light dark">'
        f"<title>{escape(name)}</title><style>{assets.joinpath('page.css').read_text('utf-8')}</style></head><body>"
        f'<header><h1>{escape(name)}</h1><span class="badge {state}">{escape(progress.told)}</span>'
        f'<p class="where">{escape(str(run.folder))}</p></header><main><div class="facts">'
        f"{''.join(map(_fact, headline(run)))}</div>{''.join(sections)}</main>"
        '<dialog id="large"><img alt=""></dialog><div id="tip" hidden></div>'
        f'<script type="application/json" id="hovers">{script_json(hovers)}</script>'
        f"<script>{assets.joinpath('page.js').read_text('utf-8')}</script></body></html>\n"
    )
    return document.encode("utf-8", errors="backslashreplace")


def script_json(value: Any) -> str:
    """JSON that cannot end the ``<script>`` that it stands in.

    Example:
        >>> script_json("</script>")
        '"\\\\u003c/script>"'
    """
    return json.dumps(value, allow_nan=False).replace("<", "\\u003c")


def _section(title: str, content: str) -> str:
    return f'<section data-title="{escape(title, quote=True)}"><h2>{escape(title)}</h2>{content}</section>'


def _fact(fact: Fact) -> str:
    more = f'<span class="more">{escape(fact.more)}</span>' if fact.more else ""
    return f'<div class="fact {fact.state}"><span>{escape(fact.name)}</span><b>{escape(fact.value)}</b>{more}</div>'


def _charts(title: str, charts: Sequence[Chart], hovers: list[dict[str, Any]]) -> str:
    return _section(title, f'<div class="charts">{"".join(_chart(chart, hovers) for chart in charts)}</div>')


def _chart(chart: Chart, hovers: list[dict[str, Any]]) -> str:
    svg, hover = draw(chart)
    hovers.append(hover)
    unit = f" {chart.unit}" if chart.unit in ("%", "s", "MB", "images/s") else ""
    last = {name: series.finite[-1] for name, series in chart.series.items() if series.finite}
    if len(last) > 1:
        keys = "".join(
            f'<li><i class="key s{place}"></i>{escape(name)} <b>{number(value)}{unit}</b></li>'
            for place, (name, value) in enumerate(last.items(), 1)
        )
        head = f"<h3>{escape(chart.title)}</h3><ul class=\"keys\">{keys}</ul>"
    else:
        head = f"<h3>{escape(chart.title)} <b>{number(next(iter(last.values())))}{unit}</b></h3>"
    lost = sum(len(series.values) - len(series.finite) for series in chart.series.values())
    note = " ".join(text for text in (chart.note, f"{lost} values are not finite." if lost else "") if text)
    note = f'<p class="note">{escape(note)}</p>' if note else ""
    return f'<figure data-chart="{len(hovers) - 1}">{head}{note}{svg}</figure>'


def _resumes(run: Run) -> str:
    if len(run.processes) < 2:
        return ""
    rows = []
    for process in run.processes:
        trained = [row.iteration for row in process.rows if row.kind == "train"]
        begun = "-" if not process.trained else "anew" if process.begun is None else f"iteration {process.begun:,}"
        reached = f"{trained[-1]:,}" if trained else "nothing" if process.trained else "did not train"
        lost = f"{process.lost} logged row{'s' * (process.lost > 1)}" if process.lost else ""
        rows.append([process.name, begun, reached, str(process.duration), lost])
    text = "<p>Dotted lines in the charts show where the run was resumed. What a process did after the checkpoint that a "
    text += "later one began from was done again, and is not drawn.</p>"
    return _section("Starts", text + _table(["process", "began from", "last logged", "duration", "not drawn"], rows))


def _gallery(gallery: Gallery) -> str:
    if gallery.problem:
        head = "Not drawn: " if not gallery.pictures else "Not all were drawn: "
        text = f'<p class="problem">{escape(head + gallery.problem)}</p>'
    else:
        text = f"<p>{escape(gallery.text)}</p>"
    text += "".join(f'<p class="note">{escape(note)}</p>' for note in gallery.notes)
    pictures = "".join(_picture(gallery.title, picture) for picture in gallery.pictures)
    return _section(gallery.title, f'{text}<div class="pictures">{pictures}</div>')


def _picture(title: str, picture: Picture) -> str:
    width, height = picture.size
    wide = _WIDE if width > _WIDE_ASPECT * height else ""
    label, caption = escape(f"{title}, {picture.caption}", quote=True), escape(picture.caption)
    image = f'<img src="{picture.address}" width="{width}" height="{height}" tabindex="0" alt="{label}">'
    return f"<figure{wide}>{image}<figcaption>{caption}</figcaption></figure>"


def _results(tables: Sequence[ScoreTable]) -> str:
    parts = []
    for table in tables[:_MOST_TABLES]:
        named = any(table.rows)
        if named:
            rows = [[name, *(number(row[key]) if key in row else "" for key in table.columns)]
                    for name, row in table.rows.items()]  # fmt: skip
            parts.append(f"<h3>{escape(table.name)}</h3>{_table(['', *table.columns], rows, numbers=True)}")
        else:
            rows = [[key, number(value)] for key, value in table.rows[""].items()]
            parts.append(f"<h3>{escape(table.name)}</h3>{_table(['score', ''], rows, numbers=True)}")
    cards = "".join(
        f"<div{_WIDE if len(table.columns) > _MOST_NARROW and any(table.rows) else ''}>{part}</div>"
        for table, part in zip(tables, parts)
    )
    text = f'<div class="results">{cards}</div>' if parts else "<p>No file of scores in the work dir.</p>"
    return _section("Results", text + _more(len(tables) - _MOST_TABLES, "p"))


def _warnings(run: Run) -> str:
    warned, left = warnings_of(run)
    photos = bad_photos(run)
    parts = []
    if warned:
        rows = [_warning(each) for each in warned[:_MOST_WARNINGS]]
        parts.append(_table(["last", "level", "times", "warning"], rows) + _more(len(warned) - _MOST_WARNINGS, "p"))
    if photos:
        more = _more(len(photos) - _MOST_BAD_PHOTOS, "li")
        items = "".join(f"<li>{escape(line)}</li>" for line in photos[:_MOST_BAD_PHOTOS])
        parts.append(f"<h3>{len(photos):,} photos could not be read</h3><ul>{items}{more}</ul>")
    text = "" if parts else "<p>None in the log.</p>"
    notice = f'<p class="note">{left} notices of mmengine about itself are left out.</p>' if left else ""
    return _section("Warnings", text + "".join(parts) + notice)


def _more(left: int, tag: str) -> str:
    return f"<{tag}>... and {left:,} more</{tag}>" if left > 0 else ""


def _warning(warned: Warned) -> list[str]:
    return [warned.when, warned.level, str(warned.often), warned.text]


def _figures(run: Run) -> str:
    rows = []
    for kind in ("train", "probe", "val"):
        for name, series in run.figures(kind).items():
            finite = series.finite or [math.nan]
            ends = (series.values[0], series.values[-1], min(finite), max(finite))
            rows.append([name, *map(number, ends), str(len(series.values))])
    if not rows:
        return ""
    head = ["figure", "first", "last", "lowest", "highest", "rows"]
    return _section("All figures", f"<details><summary>{len(rows)} figures as a table</summary>"
                    f"{_table(head, rows, numbers=True)}</details>")  # fmt: skip


def _environment(run: Run) -> str:
    facts = run.newest.log.facts
    rows = [[name, value] for name, value in facts.items()]
    if not rows:
        return _section("Versions", "<p>The newest process left no text log that tells them.</p>")
    table = _table(["", ""], rows)
    return _section("Versions", f"<details><summary>Environment of the newest process</summary>{table}</details>")


def _config(run: Run) -> str:
    config = run.config
    if not config.text:
        return _section("Config", f"<p>There is none: {escape(config.problem)}.</p>")
    problem = f'<p class="problem">{escape(config.problem)}</p>' if config.problem else ""
    name = escape(str(config.file))
    return _section("Config", f"{problem}<details><summary>{name}</summary><pre>{escape(config.text)}</pre></details>")


def _table(head: Sequence[str], rows: Sequence[Sequence[str]], numbers: bool = False) -> str:
    kind = ' class="numbers"' if numbers else ""
    top = f"<thead><tr>{''.join(f'<th>{escape(cell)}</th>' for cell in head)}</tr></thead>" if any(head) else ""
    body = "".join(f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in row)}</tr>" for row in rows)
    return f'<div class="scroll"><table{kind}>{top}<tbody>{body}</tbody></table></div>'
