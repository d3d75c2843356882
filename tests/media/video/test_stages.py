"""Stages in threads: everything arrives in order, queues are bounded, and the first error ends it all and is the one raised."""

import contextlib
import threading
import time

import pytest

from gpsr_deploy.media.video.stages import Behind, ahead


def nothing() -> None:
    pass


def test_everything_arrives_in_order():
    done = []
    with Behind(done.append, depth=2) as behind, contextlib.closing(ahead(range(100), depth=3, check=nothing)) as items:
        for item in items:
            behind.put(item)
    assert done == list(range(100))


def test_what_is_made_ahead_is_bounded():
    made = []

    def items():
        for number in range(100):
            made.append(number)
            yield number

    most = 1 + 3 + 1  # given, waiting, in the hand
    with contextlib.closing(ahead(items(), depth=3, check=nothing)) as given:
        next(given)
        deadline = time.monotonic() + 60
        while len(made) < most and time.monotonic() < deadline:
            time.sleep(0.01)
        time.sleep(0.3)
        assert len(made) == most


def test_an_error_of_the_maker_comes_after_what_was_made():
    def items():
        yield 1
        raise KeyError("broken")

    given = ahead(items(), depth=3, check=nothing)
    assert next(given) == 1
    with pytest.raises(KeyError, match="broken"):
        next(given)


def test_an_error_of_the_consumer_is_raised_where_items_are_given():
    def consume(_item):
        raise KeyError("full")

    with pytest.raises(KeyError, match="full"), Behind(consume, depth=1) as behind:
        for _ in range(100):
            behind.put(1)


def test_an_error_of_the_consumer_is_raised_while_the_maker_hangs():
    hang = threading.Event()

    def items():
        yield 1
        hang.wait(20)
        yield 2

    def consume(_item):
        raise KeyError("gone")

    begin = time.monotonic()
    with pytest.raises(KeyError, match="gone"), Behind(consume, depth=1) as behind:
        for item in ahead(items(), depth=1, check=behind.check):
            behind.put(item)
    assert time.monotonic() - begin < 15
    hang.set()


def test_an_error_of_the_caller_ends_both():
    before = set(threading.enumerate())
    with pytest.raises(KeyError, match="mine"), Behind(lambda _: None, depth=1) as behind:
        with contextlib.closing(ahead(iter(int, 1), depth=1, check=behind.check)) as items:
            for item in items:
                behind.put(item)
                raise KeyError("mine")
    assert not set(threading.enumerate()) - before


def test_they_overlap():
    """Three times over, while one item is consumed, the next is in the caller's hand, and that after it is being made."""
    together = threading.Barrier(3, timeout=60)  # which whoever waits there alone breaks, with an error

    def items():
        for number in range(5):
            if number >= 2:
                together.wait()
            yield number

    def consume(number):
        if number <= 2:
            together.wait()

    with Behind(consume, depth=1) as behind, contextlib.closing(ahead(items(), depth=2, check=behind.check)) as given:
        for item in given:
            if 1 <= item <= 3:
                together.wait()
            behind.put(item)
    assert not together.broken
