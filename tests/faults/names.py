"""Faults of what a name may hold, and of what may stand under it: pipes, devices, links, the journal of an interrupted run."""

from __future__ import annotations

import os
import socket
from pathlib import Path

from faults import made
from faults.fault import ABSENT, Fault, picture

PHOTO = made.later(made.photo_file, "PNG")
LARGE = picture(48, 60)
OLD = b"precious, though no picture"


def listening(path: Path) -> None:
    """A socket in the file system; by way of a descriptor, since its name may have 108 bytes only."""
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(f"/proc/self/fd/{folder}/{path.name}")
    finally:
        os.close(folder)


NAMES = {
    "spaces": "a photo of it.png",
    "quotes": "q'\"uote.png",
    "a command": "$(touch ran);`touch ran`.png",
    "a newline": "new\nline.png",
    "a leading dash": "-q.png",
    "wild cards": "[1]*?.png",
    "emoji": "🐱.png",
    "bytes that are no text": os.fsdecode(b"\xff\xfe.png"),
    "a terminal's language": "\x1b[2J\x1b]0;owned\x07.png",
    "percent signs": "%s%n%d{0}.png",
    "a backslash": "a\\..\\b.png",
    "255 bytes less what is added": "x" * 248 + ".png",
    "no suffix but one": ".png.png",
}  # fmt: skip

LITERALLY = [
    *(
        Fault(
            id=f"a name of {id}", clause="names", files={name: PHOTO}, command=["infer", "--", name], code=0,
            leaves={f"{name[:-4]}_x4.png": LARGE},
        )
        for id, name in NAMES.items()
    ),
    *(
        Fault(id=f"a missing name of {id}", clause="names", command=["infer", "--", NAMES[id]], code=3, says="error[3]")
        for id in ("a newline", "a terminal's language", "bytes that are no text")
    ),
    Fault(
        id="bytes that are no text, in JSON", clause="names", files={NAMES["bytes that are no text"]: PHOTO}, command=["infer", NAMES["bytes that are no text"], "--json", "-q"],
        code=0, prints='"input": "\\udcff\\udcfe.png"', leaves={f"{NAMES['bytes that are no text'][:-4]}_x4.png": LARGE},
    ),
    Fault(
        id="a name without room for the output's", clause="names", files={"x" * 251 + ".png": PHOTO}, command=["infer", "x" * 251 + ".png"], code=4,
        says="too long",
    ),
    Fault(
        id="a suffix that leaves the folder", clause="names", files={"p.png": PHOTO}, command=["infer", "p.png", "--suffix", "/../../o"], code=2,
        says="suffix",
    ),
    Fault(
        id="a model with a hostile name", clause="names", files={NAMES["a terminal's language"].replace("png", "onnx"): b""},
        command=["inspect", NAMES["a terminal's language"].replace("png", "onnx")], code=5, says="\\x1b[2J",
    ),
]  # fmt: skip

IRREGULAR = [
    Fault(
        id="a pipe", clause="no regular file", arrange=lambda folder: os.mkfifo(folder / "p.png"), command=["infer", "p.png"], code=3,
        says="no regular file",
    ),
    Fault(
        id="a socket", clause="no regular file", arrange=lambda folder: listening(folder / "p.png"), command=["infer", "p.png"], code=3,
        says="error[3] p.png",
    ),
    Fault(id="an endless device", clause="no regular file", command=["infer", "/dev/zero", "-o", "o.png"], code=3, says="no regular file"),
    Fault(id="standard input", clause="no regular file", command=["infer", "/dev/stdin", "-o", "o.png"], code=3, says="error[3] /dev/stdin"),
    Fault(
        id="a pipe as a model", clause="no regular file", arrange=lambda folder: os.mkfifo(folder / "m.onnx"), command=["inspect", "m.onnx"], code=3,
        says="no regular file",
    ),
    Fault(
        id="a pipe as a checkpoint", clause="no regular file", arrange=lambda folder: os.mkfifo(folder / "m.safetensors"),
        command=["inspect", "m.safetensors"], code=3, says="no regular file",
    ),
    Fault(
        id="a pipe as an engine", clause="no regular file", arrange=lambda folder: os.mkfifo(folder / "m.plan"), command=["inspect", "m.plan"],
        code=3, says="no regular file",
    ),
    Fault(
        id="a pipe as an output", clause="no regular file", files={"p.png": PHOTO}, arrange=lambda folder: os.mkfifo(folder / "o.png"),
        command=["infer", "p.png", "-o", "o.png", "--overwrite"], code=4, says="no regular file",
    ),
    Fault(
        id="a device as an output", clause="no regular file", files={"p.png": PHOTO},
        arrange=lambda folder: (folder / "o.png").symlink_to("/dev/full"), command=["infer", "p.png", "-o", "o.png", "--overwrite"], code=4,
        says="no regular file",
    ),
    Fault(
        id="a link to itself", clause="links", arrange=lambda folder: (folder / "p.png").symlink_to("p.png"), command=["infer", "p.png"], code=3,
        says="symbolic links",
    ),
    Fault(
        id="a link to nothing", clause="links", arrange=lambda folder: (folder / "p.png").symlink_to("gone.png"), command=["infer", "p.png"], code=3,
        says="No such file",
    ),
    Fault(
        id="an output that links to nothing", clause="links", files={"p.png": PHOTO},
        arrange=lambda folder: (folder / "o.png").symlink_to("/etc/gone.png"), command=["infer", "p.png", "-o", "o.png", "--overwrite"], code=4,
        says="error[4] o.png",
    ),
    Fault(
        id="an output that links to something keeps it", clause="links", files={"p.png": PHOTO, "kept.png": OLD}, arrange=lambda folder: (folder / "o.png").symlink_to("kept.png"),
        command=["infer", "p.png", "-o", "o.png", "--overwrite"], code=0, leaves={"o.png": LARGE},
    ),
    Fault(
        id="a link out of the folder is read", clause="links", files={"p.png": PHOTO}, arrange=lambda folder: (folder / "l.png").symlink_to("p.png"),
        command=["infer", "l.png"], code=0, leaves={"l_x4.png": LARGE},
    ),
    Fault(
        id="what a dead run left goes", clause="SIGKILL", files={"p.png": PHOTO, f".p_x4.png.{2**22 + 1}-0123abcd.tmp": b"half", ".mine.tmp": b"x", ".p_x4.png.1-x.tmp": b"x"},
        command=["infer", "p.png"], code=0, leaves={"p_x4.png": LARGE, f".p_x4.png.{2**22 + 1}-0123abcd.tmp": ABSENT},
    ),
]  # fmt: skip

JOURNAL, NEXT = ".gpsr-run.jsonl", ["infer", "in", "-o", "out", "--skip-existing", "-q"]


def with_journal(id: str, content: bytes, code: int = 0, says: str = "", **more: object) -> Fault:
    """Two pictures, one of which is done; the journal is of a run that was killed, or is none."""
    files = {"in/a.png": PHOTO, "in/b.png": PHOTO, "out/a.png": OLD, f"out/{JOURNAL}": content}
    leaves = {"out/b.png": LARGE, f"out/{JOURNAL}": ABSENT} if code == 0 else {}
    return Fault(id=id, clause="a journal", files=files, command=NEXT, code=code, says=says, leaves=leaves, **more)  # type: ignore[arg-type]


JOURNALS = [
    with_journal("an empty journal", b""),
    with_journal("a journal of rubbish", bytes(range(256)) * 9),
    with_journal("a journal of depth 10^5", b"[" * 100_000),
    with_journal("a journal whose lines are other things", b'[]\nnull\n"x"\n1e999\n'),
    with_journal("a journal of another format", b'{"format": 99, "recipe": {}, "overwrites": true}\n'),
    with_journal(
        "a journal of another model", b'{"format": 1, "recipe": {"model": "\\u001b[2Jother"}, "overwrites": false}\n', code=2, says="\\x1b[2Jother",
    ),
    with_journal(
        "a journal whose recipe holds other things", b'{"format": 1, "recipe": {"model": [[1]], "": null}, "overwrites": 7}\n', code=2,
        says="error[2]",
    ),
    *(
        Fault(
            id=f"a journal that is {id}", clause="a journal", files={"in/a.png": PHOTO, "in/b.png": PHOTO, "kept": OLD}, command=NEXT, code=0,
            arrange=lambda folder, make=make: ((folder / "out").mkdir(), make(folder / "out" / JOURNAL)),
            leaves={"out/a.png": LARGE, "out/b.png": LARGE},
        )
        for id, make in {"a pipe": os.mkfifo, "a folder": Path.mkdir, "a link": lambda path: path.symlink_to("../kept"), "a device": lambda path: path.symlink_to("/dev/full")}.items()
    ),
]  # fmt: skip

FAULTS: list[Fault] = [*LITERALLY, *IRREGULAR, *JOURNALS]
