"""``make bench``: every benchmark beside this file, as one table and as ``bench.json``.

A benchmark is a module ``bench_*.py`` with ``rows()`` that yields dictionaries: ``name``, ``unit``,
``ours``, ``peer``, ``ratio``, ``budget``, ``met``. Peer and ours are measured in the same run; a
figure without a peer has a budget. ``peer`` and ``ratio`` may be ``None``.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

HERE = Path(__file__).parent
COLUMNS = ("name", "unit", "ours", "peer", "ratio", "budget", "met")


def modules(only: str) -> Iterator[Any]:
    """Load the benchmarks whose names contain ``only``."""
    for path in sorted(HERE.glob("bench_*.py")):
        if only in path.stem:
            spec = importlib.util.spec_from_file_location(path.stem, path)
            assert spec
            assert spec.loader
            module = importlib.util.module_from_spec(spec)
            sys.modules[path.stem] = module
            spec.loader.exec_module(module)
            yield module


def shown(value: object) -> str:
    """Write a figure with three significant digits."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "NO"
    return (
        f"{value:,.3g}"
        if isinstance(value, float) and abs(value) < 1000
        else f"{value:,.0f}"
        if isinstance(value, int | float)
        else str(value)
    )


def main() -> int:
    """Run, print and write; the exit status is 0 also when a budget was missed: the table says so."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default="", help="only benchmarks whose name contains this")
    parser.add_argument("--out", type=Path, default=Path("bench.json"))
    options = parser.parse_args()
    console = Console(width=150)
    table = Table(*COLUMNS, title="Callguard benchmarks")
    rows: list[dict[str, Any]] = []
    for module in modules(options.only):
        console.print(f"[dim]{module.__name__} …[/]")
        for row in module.rows():
            rows.append({key: row.get(key) for key in COLUMNS})
            table.add_row(
                *(shown(row.get(key)) for key in COLUMNS), style="" if row.get("met") else "red"
            )
            console.print(f"   {row['name']}: {shown(row.get('ours'))} {row.get('unit', '')}")
    options.out.write_text(json.dumps(rows, indent=1) + "\n")
    console.print(table)
    console.print(f"written to {options.out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
