"""Writes docs/errors.md from the code: every error that is raised on purpose, by exit code.

python docs/errors_table.py          rewrites docs/errors.md
python docs/errors_table.py --check  ends with 1 where that would change it
"""

from __future__ import annotations

import ast
import inspect
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from gpsr_deploy import errors
from gpsr_deploy.errors import GpsrError

ROOT = Path(__file__).parent.parent
FOLDERS = ("gpsr_deploy", "train", "export", "engines")
TARGET = Path(__file__).with_name("errors.md")

HEAD = """\
# Errors

Made by `python docs/errors_table.py` from the code; a test holds the two together.

Every error is one line on stderr,

```
error[CODE] path: what was found. Expected what. Try: what to do.
```

and in Python an exception of the class named here, a child of `gpsr_deploy.GpsrError`, with `found`, `expected`, `remedy`,
`path` and `exit_code`. `...` stands for what is filled in. 1 is a bug of ours, with a traceback: please report it. 130 and 143
are SIGINT and SIGTERM: what was finished stays.
"""


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class Row:
    """One way to fail."""

    found: str
    expected: str
    remedy: str


def classes() -> list[type[GpsrError]]:
    """The errors, by exit code, each before its children."""
    found = [kind for _, kind in inspect.getmembers(errors, inspect.isclass) if issubclass(kind, GpsrError)]
    return sorted(found, key=lambda kind: (kind.exit_code, len(kind.__mro__), kind.__name__))


def rows(names: set[str]) -> Iterator[tuple[str, Row, str]]:
    """(class, row, file) of each place that makes an error of these classes with words of its own."""
    for path in sorted(path for folder in FOLDERS for path in (ROOT / folder).rglob("*.py")):
        place = path.relative_to(ROOT).as_posix().removeprefix("gpsr_deploy/")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Name) or node.func.id not in names:
                continue
            named = {keyword.arg: keyword.value for keyword in node.keywords}
            found = words(node.args[0]) if node.args else ""
            row = Row(found=found, expected=words(named.get("expected")), remedy=words(named.get("remedy")))
            if found.strip(" ."):
                yield node.func.id, row, place


def words(node: ast.expr | None) -> str:
    """The text that an expression makes, `...` for what is not written there."""
    match node:
        case None:
            return ""
        case ast.Constant(value=str(text)):
            return text
        case ast.JoinedStr(values=values):
            text = "".join(words(value) if isinstance(value, ast.Constant) else "..." for value in values)
            return text.replace("......", "...")
        case ast.BinOp(left=left, op=ast.Add(), right=right):
            return words(left) + words(right)
        case ast.IfExp(body=body, orelse=other):
            return " / ".join(filter(None, (words(body), words(other))))
    return "..."


def document() -> str:
    """The whole page."""
    kinds = classes()
    by_class: dict[str, dict[Row, set[str]]] = {kind.__name__: {} for kind in kinds}
    for name, row, place in rows(set(by_class)):
        by_class[name].setdefault(row, set()).add(place)
    parts = [HEAD]
    for kind in kinds:
        if kind is GpsrError:
            continue
        parts.append(f"## {kind.exit_code}: {kind.__name__}\n\n{inspect.cleandoc(kind.__doc__ or '')}\n")
        if by_class[kind.__name__]:
            table = ["| found | expected | try | where |", "|---|---|---|---|"]
            table += [
                f"| {cell(row.found)} | {cell(row.expected)} | {cell(row.remedy)} | {', '.join(sorted(places))} |"
                for row, places in sorted(by_class[kind.__name__].items())
            ]
            parts.append("\n".join(table) + "\n")
    return "\n".join(parts)


def cell(text: str) -> str:
    """`text` in a cell of a table."""
    return text.replace("|", "\\|").replace("\n", " ").replace("<", "&lt;")


def main(arguments: list[str]) -> int:
    """Writes the page, or compares."""
    made = document()
    if arguments == ["--check"]:
        return int(TARGET.read_text(encoding="utf-8") != made)
    TARGET.write_text(made, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
