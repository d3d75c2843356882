"""Every fault of the lists, each in a process and a folder of its own."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import pytest
from project import ROOT

from faults import clauses, lists
from faults.fault import Fault
from faults.running import Ended, provoke

TESTS = ROOT / "tests"


AT_ONCE = 2


def named(fault: Fault) -> str:
    """Its class and its name."""
    return f"{clauses.class_of(fault.clause)}: {fault.id}"


def marked(fault: Fault) -> object:
    """The fault as a parameter: slow where it is, expected to fail where a fault of ours is known."""
    marks = [pytest.mark.slow] if fault.slow else []
    marks += [pytest.mark.xfail(strict=True, reason=fault.bug)] if fault.bug else []
    return pytest.param(fault, id=named(fault), marks=marks)


@pytest.fixture(scope="module")
def provoked(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, Future[Ended]]]:
    """The faults of this run by class and name, two at a time: most of each is a process that starts."""
    chosen = [
        item.callspec.params["fault"]
        for item in request.session.items
        if "fault" in getattr(item, "callspec", Chosen).params
    ]
    with ThreadPoolExecutor(AT_ONCE) as pool:
        yield {named(fault): pool.submit(provoke, fault, tmp_path_factory.mktemp("fault")) for fault in chosen}
        pool.shutdown(cancel_futures=True)


class Chosen:
    """Of a test without parameters."""

    params: dict[str, object] = {}


@pytest.mark.parametrize("fault", list(map(marked, lists.FAULTS)))
def test_a_fault_ends_with_its_code_in_one_line_and_loses_nothing(
    fault: Fault, provoked: dict[str, Future[Ended]], record_property
):
    record_property("seconds", provoked[named(fault)].result().seconds)


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
