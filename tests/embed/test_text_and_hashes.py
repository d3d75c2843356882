"""SHA-256 and what is shown of hostile text, against Python's."""

import hashlib
import random
import unicodedata

from cpp import probe

from gpsr_deploy import errors


def test_sha256_is_hashlibs(built):
    draw = random.Random(0)
    cases = [draw.randbytes(size) for size in [*range(200), 4096, 100_003]]
    assert probe(built, "sha256", cases) == [hashlib.sha256(case).hexdigest() for case in cases]


def test_what_is_shown_is_what_python_shows(built):
    """Of every character that Unicode has given away; of the others Python's version decides."""
    given = [chr(code) for code in range(0x110000) if unicodedata.category(chr(code)) not in ("Cn", "Cs")]
    given += [chr(code) for code in (0xFDD0, 0xFFFE, 0x1FFFF, 0x10FFFE)]  # which never will be characters
    cases = ["".join(given[begin : begin + 25]) for begin in range(0, len(given), 25)] + [
        "x" * 299,
        "x" * 301,
        "é" * 5000,
    ]
    assert probe(built, "printable", cases) == [errors.printable(case) for case in cases]
    assert probe(built, "printable", [b"a\xffb\xc0\x80\xed\xa0\x80\xf5"]) == [r"a\xffb\xc0\x80\xed\xa0\x80\xf5"]
