"""Errors: exit codes, one printable line, what an `except` catches."""

import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpsr_deploy import errors
from gpsr_deploy.errors import MAX_SHOWN, GpsrError, InputUnreadable, ModelRefused, printable

ANY_TEXT = st.text(st.characters(), max_size=2 * MAX_SHOWN)  # lone surrogates too: undecodable bytes of file names


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("GpsrError", 1),
        ("UsageError", 2),
        ("InputUnreadable", 3),
        ("OutputUnwritable", 4),
        ("ModelRefused", 5),
        ("BackendUnavailable", 5),
        ("NonFinite", 5),
        ("OutOfMemory", 6),
        ("ParityFailed", 7),
        ("BatchIncomplete", 8),
    ],
)
def test_each_error_carries_the_exit_code_of_the_interface(name, code):
    kind = getattr(errors, name)
    assert issubclass(kind, GpsrError)
    assert kind("x").exit_code == code
    assert str(kind("x")).startswith(f"error[{code}] ")


def test_the_line_is_that_of_the_interface():
    error = InputUnreadable("no file", expected="a picture", remedy="another path", path="a b.png")
    assert str(error) == "error[3] a b.png: no file. Expected a picture. Try: another path."
    assert error.message == "no file. Expected a picture."


def test_empty_clauses_leave_no_trace():
    assert str(InputUnreadable("no file")) == "error[3] no file."


@given(found=ANY_TEXT, expected=ANY_TEXT, remedy=ANY_TEXT, path=ANY_TEXT)
def test_hostile_text_makes_one_printable_line_of_bounded_length(found, expected, remedy, path):
    line = str(ModelRefused(found, expected=expected, remedy=remedy, path=path))
    assert line.isprintable()  # no newline, no escape sequence, nothing that cannot be encoded
    assert len(line) <= 4 * (MAX_SHOWN + len("...")) + len("error[5] :. Expected . Try: .")


@given(st.text(st.characters(exclude_categories=["C", "Z"]), max_size=MAX_SHOWN))
def test_plain_text_is_shown_as_it_is(text):
    assert printable(text) == text


def test_escapes_are_shown_and_long_text_keeps_both_ends():
    assert printable("\x1b[31m\n\udcff") == "\\x1b[31m\\n\\udcff"
    assert (
        printable("<" + "x" * 10_000 + ">")
        == "<" + "x" * (MAX_SHOWN // 2 - 1) + "..." + "x" * (MAX_SHOWN // 2 - 1) + ">"
    )


def test_an_error_survives_the_way_out_of_a_worker_process():
    error = pickle.loads(pickle.dumps(InputUnreadable("no file", expected="a picture", remedy="another", path="x.png")))
    assert str(error) == "error[3] x.png: no file. Expected a picture. Try: another."
