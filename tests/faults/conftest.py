"""The table of faults at the end of a run: by class, how many there were, how many passed, which took longest."""

from __future__ import annotations

from collections import defaultdict

import pytest

NAME = "test_a_fault_ends_with_its_code_in_one_line_and_loses_nothing["


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Prints the table, and what tests of many cases have counted."""
    rows: dict[str, list[tuple[bool, float, str]]] = defaultdict(list)
    notes = []
    for outcome in ("passed", "failed", "xfailed"):
        for report in terminalreporter.stats.get(outcome, []):
            notes += [value for name, value in report.user_properties if name == "counted"]
            if NAME in report.nodeid and report.when == "call":
                kind, _, fault = report.nodeid.partition(NAME)[2][:-1].partition(": ")
                seconds = dict(report.user_properties).get("seconds", 0.0)
                rows[kind].append((outcome == "passed", seconds, fault))
    if rows:
        terminalreporter.section("faults")
        terminalreporter.line(f"{'class':12} {'faults':>6} {'passed':>6} {'known bugs':>10}   slowest")
        known = {report.nodeid for report in terminalreporter.stats.get("xfailed", [])}
        for kind, found in rows.items():
            bugs = sum(f"{NAME}{kind}: " in nodeid for nodeid in known)
            seconds, name = max((seconds, name) for _, seconds, name in found)
            passed = sum(passed for passed, _, _ in found)
            terminalreporter.line(f"{kind:12} {len(found):6} {passed:6} {bugs:10}   {seconds:5.1f} s {name}")
        every = [one for found in rows.values() for one in found]
        terminalreporter.line(f"{'all':12} {len(every):6} {sum(passed for passed, *_ in every):6} {len(known):10}")
    for note in notes:
        terminalreporter.line(note)
