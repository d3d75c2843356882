"""Progress of a build: from 0 to 1 by phases with names, and an end to it where the caller wants one."""

import sys
import threading
import time

import plans
import pytest
from builds import made


def test_progress_goes_from_0_to_1_by_phases_with_names(model, trt):
    told = []
    made(model, trt, on_progress=lambda phase, share: told.append((phase, share)))
    shares = [share for _, share in told]
    assert (shares[0], shares[-1]) == (0.0, 1.0)
    assert shares == sorted(shares)
    assert len(set(shares)) > 10
    names = {phase for phase, _ in told}
    assert len(names) > 3
    assert all(name and name.isprintable() for name in names)


def progress_of(model, script):
    """What is told of a build that calls its monitor as `script` does."""

    def run(network, config):
        script(config.progress_monitor)
        return plans.plan()

    told = []
    made(
        model,
        plans.with_builder(lambda _builder: {"build_serialized_network": run}),
        on_progress=lambda *what: told.append(what),
    )
    shares = [share for _, share in told]
    assert shares == sorted(shares)
    assert all(0 <= share <= 1 for share in shares)
    return told


def test_an_inner_phase_is_a_share_of_its_parents_step(model):
    def script(monitor):
        monitor.phase_start("all", None, 2)
        monitor.phase_start("first", "all", 4)
        assert monitor.step_complete("first", 0)
        monitor.phase_finish("first")
        monitor.step_complete("all", 0)
        monitor.phase_start("second", "all", 2)
        monitor.step_complete("second", 0)
        monitor.phase_finish("second")
        monitor.phase_finish("all")

    shares = [share for _, share in progress_of(model, script)]
    assert shares == [0, 0, 0.125, 0.5, 0.5, 0.5, 0.75, 1, 1]


@pytest.mark.parametrize(
    "script",
    [
        lambda monitor: monitor.phase_start("own parent", "own parent", 3),
        lambda monitor: [monitor.phase_start("a", "b", 2), monitor.phase_start("b", "a", 2), monitor.step_complete("a", 0)],
        lambda monitor: [monitor.step_complete("never begun", 3), monitor.phase_finish("never begun")],
        lambda monitor: monitor.phase_start("of an unknown parent", "nobody", 1),
        lambda monitor: [monitor.phase_start("no steps", None, 0), monitor.step_complete("no steps", 0)],
        lambda monitor: [monitor.phase_start("more", None, 2), monitor.step_complete("more", 9), monitor.phase_finish("more")],
        lambda monitor: [monitor.phase_start("twice", None, 2)] * 2 + [monitor.phase_finish("twice")] * 2,
    ],
    ids=["itself", "circle", "unknown", "orphan", "empty", "more", "twice"],
)  # fmt: skip
def test_phases_in_any_order_end_and_stay_within_0_and_1(model, script):
    progress_of(model, script)


def test_phases_may_come_from_several_threads(model):
    """A phase may end while another thread asks for its parent; an error there would end the process."""
    errors = []

    def script(monitor):
        together = threading.Barrier(4)

        def phases():
            try:
                together.wait()
                for number in range(60):
                    monitor.phase_start("outer", None, 300)
                    monitor.phase_start(f"inner {number % 3}", "outer", 3)
                    monitor.step_complete(f"inner {number % 3}", 0)
                    monitor.step_complete("outer", number)
                    monitor.phase_finish(f"inner {number % 3}")
                monitor.phase_finish("outer")
            except Exception as error:  # noqa: BLE001
                errors.append(error)

        threads = [threading.Thread(target=phases) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    switch = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        for _ in range(20):
            progress_of(model, script)  # which asks that the share never goes back
    finally:
        sys.setswitchinterval(switch)
    assert errors == []


@pytest.mark.parametrize("kind", [ValueError, KeyboardInterrupt])
def test_what_goes_wrong_in_on_progress_ends_the_build_and_is_raised(model, kind):
    """The real build stops at its next step, and gives nothing."""
    results = []

    def keep(builder):
        def run(network, config):
            results.append(builder.build_serialized_network(network, config))
            return results[-1]

        return {"build_serialized_network": run}

    def fail(phase, share):
        if share > 0:
            raise kind("from the caller")

    with pytest.raises(kind, match="from the caller"):
        made(model, plans.with_builder(keep), on_progress=fail)
    assert results == [None]


def test_a_build_that_is_given_up_is_told_at_its_next_step(model):
    answers = []

    def run(network, config):
        config.progress_monitor.phase_start("all", None, 1000)
        for step in range(1000):
            answers.append(config.progress_monitor.step_complete("all", step))
            if not answers[-1]:
                return None
            time.sleep(0.01)
        return plans.plan()

    def fail(phase, share):
        raise ValueError("enough")

    with pytest.raises(ValueError, match="enough"):
        made(model, plans.with_builder(lambda _builder: {"build_serialized_network": run}), on_progress=fail)
    assert answers[-1] is False
    assert len(answers) < 500
