"""Every fault of the lists, each in a process and a folder of its own."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
from project import ROOT

from faults import clauses, lists
from faults.fault import Fault
from faults.running import provoke

TESTS = ROOT / "tests"


def named(fault: Fault) -> str:
    """Its class and its name."""
    return f"{clauses.class_of(fault.clause)}: {fault.id}"


def marked(fault: Fault) -> object:
    """The fault as a parameter: slow where it is, expected to fail where a fault of ours is known."""
    marks = [pytest.mark.slow] if fault.slow else []
    marks += [pytest.mark.xfail(strict=True, reason=fault.bug)] if fault.bug else []
    return pytest.param(fault, id=named(fault), marks=marks)


@pytest.mark.parametrize("fault", list(map(marked, lists.FAULTS)))
def test_a_fault_ends_with_its_code_in_one_line_and_loses_nothing(fault: Fault, tmp_path: Path, record_property):
    record_property("seconds", provoke(fault, tmp_path).seconds)


def test_no_two_faults_have_one_name():
    names = list(map(named, lists.FAULTS))
    assert len(names) == len(set(names)) >= 100


def test_every_clause_is_provoked_here_or_elsewhere():
    every = {clause for found in clauses.CLAUSES.values() for clause in found}
    here = {fault.clause for fault in lists.FAULTS}
    assert here | clauses.ELSEWHERE.keys() == every


def test_what_is_provoked_elsewhere_is():
    for place in {place for places in clauses.ELSEWHERE.values() for place in places}:
        file, name = place.split("::")
        tree = ast.parse((TESTS / file).read_text(encoding="utf-8"))
        assert name in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}, place
