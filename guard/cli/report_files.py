"""Reports as files: JSON for machines, CSV for tables, one printable HTML page for people.

1. All three hold the same. JSON is the one that is read again, signed and checked.
2. A cell of CSV that a spreadsheet would take for a formula is written as text.
3. The page stands alone: no script, no picture, no address; everything in it is escaped.
"""

from __future__ import annotations

import csv
import html
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

from guard.cli.exits import UsageTroubleError
from guard.cli.log_sources import read_file

__all__ = ["LARGEST_REPORT", "Format", "read_report", "rendered"]

LARGEST_REPORT: Final = 256 * 1024 * 1024
_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r")
_STYLE: Final = """
body { font: 11pt/1.4 serif; max-width: 60em; margin: 2em auto; color: #000; background: #fff }
h1 { font-size: 1.4em } h2 { font-size: 1.1em; margin-top: 1.6em }
table { border-collapse: collapse; width: 100% }
th, td { border: 1px solid #888; padding: .25em .5em; text-align: left; vertical-align: top;
  overflow-wrap: anywhere }
th { width: 32%; font-weight: normal; background: #eee }
.sign { margin-top: 3em } .sign td { height: 3em }
@media print { h2 { break-after: avoid } table { break-inside: avoid } body { margin: 0 } }
"""


class Format(StrEnum):
    """How a report is written."""

    JSON = "json"
    CSV = "csv"
    HTML = "html"


def rendered(report: Mapping[str, Any], how: Format, *, titles: Mapping[str, str]) -> str:
    """Return a report as text. ``titles`` name the statutory members, in their order.

    ``entries`` of the report, if there are any, become the rows of CSV and the sections of HTML.
    """
    match how:
        case Format.JSON:
            return json.dumps(report, indent=1, ensure_ascii=True) + "\n"
        case Format.CSV:
            return _csv(report, titles)
        case Format.HTML:
            return _html(report, titles)


def read_report(path: Path) -> Mapping[str, Any]:
    """Read a report in JSON; raises UsageTroubleError or TroubleError."""
    data = read_file(path, most=LARGEST_REPORT)
    try:
        report = json.loads(data)
    except (ValueError, RecursionError):
        report = None
    if not isinstance(report, dict):
        raise UsageTroubleError(f"{path} is no report in JSON")
    return report


def _entries(report: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    entries = report.get("entries")
    return list(entries) if entries is not None else [report]


def _csv(report: Mapping[str, Any], titles: Mapping[str, str]) -> str:
    entries = _entries(report)
    columns = [*titles, *dict.fromkeys(n for each in entries for n in each if n not in titles)]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\r\n")
    writer.writerow([_cell(titles.get(name, name)) for name in columns])
    writer.writerows([_cell(each.get(name)) for name in columns] for each in entries)
    return text.getvalue()


def _cell(value: Any) -> str:  # noqa: ANN401 - whatever JSON can hold
    words = _words(value)
    return f"'{words}" if words.startswith(_FORMULA) else words


def _words(value: Any) -> str:  # noqa: ANN401 - whatever JSON can hold
    match value:
        case None:
            return ""
        case bool():
            return "yes" if value else "no"
        case Mapping():
            return "; ".join(f"{name}: {_words(each)}" for name, each in value.items())
        case list() | tuple():
            return " | ".join(map(_words, value))
    return str(value)


def _html(report: Mapping[str, Any], titles: Mapping[str, str]) -> str:
    title = html.escape(str(report["title"]))
    body = "\n".join(_sections(report, titles))
    return (
        f'<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f"<title>{title}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n"
        f"<h1>{title}</h1>\n{body}\n</body>\n</html>\n"
    )


def _sections(report: Mapping[str, Any], titles: Mapping[str, str]) -> Iterator[str]:
    entries = report.get("entries")
    head = {name: each for name, each in report.items() if name not in {"title", "entries"}}
    yield _table(head, titles)
    for each in entries or ():
        yield f"<h2>Entry {html.escape(_words(each.get('entry', each.get('record'))))}</h2>"
        yield _table(each, titles)
    if report.get("signature_lines"):
        yield (
            '<table class="sign"><tr><th>Certified complete and accurate</th><td></td></tr>'
            "<tr><th>Name, date</th><td></td></tr></table>"
        )


def _table(values: Mapping[str, Any], titles: Mapping[str, str]) -> str:
    named: Sequence[str] = [*(name for name in titles if name in values)]
    others = [name for name in values if name not in titles and name != "signature_lines"]
    rows = (
        f"<tr><th>{html.escape(titles.get(name, name.replace('_', ' ')))}</th>"
        f"<td>{html.escape(_words(values[name]))}</td></tr>"
        for name in [*named, *others]
    )
    return f"<table>{''.join(rows)}</table>"
