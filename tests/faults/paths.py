"""Faults of names, folders, permissions and what stands where an output goes."""

from __future__ import annotations

import os

from faults import made
from faults.fault import Circumstances, Fault, anything, picture

PHOTO = made.later(made.photo_file, "PNG")
LARGE = picture(48, 60)
OLD = b"precious, though no picture"
DENIED = Circumstances(unprivileged=True)


def liar() -> bytes:
    """A model that inference refuses with 5: who ends with another code did not get there."""
    return made.model(lambda found: made.stating(found, made.spec(scale=8, halo=21).to_json()))


MISSING = [
    Fault(id="a missing picture", clause="a missing file", command=["infer", "no.png"], code=3, says="no.png: the file cannot be read: No such"),
    Fault(id="a missing folder", clause="a missing file", command=["infer", "no/"], code=3, says="error[3] no"),
    Fault(
        id="a picture below a file", clause="a missing file", files={"p.png": PHOTO}, command=["infer", "p.png/p.png"], code=3,
        says="Not a directory",
    ),
    Fault(id="a pattern without a match", clause="a missing file", command=["infer", "*.png"], code=3, says="no file matches"),
    Fault(id="an empty name", clause="a missing file", command=["infer", ""], code=2, says="an empty name"),
    Fault(id="an empty output", clause="a missing file", files={"p.png": PHOTO}, command=["infer", "p.png", "-o", ""], code=2, says="an empty name"),
    Fault(
        id="one of several is missing", clause="a missing file", files={"a.png": PHOTO, "c.png": PHOTO},
        command=["infer", "a.png", "b.png", "c.png", "-q"], code=8, says="error[3] b.png",
        leaves={"a_x4.png": LARGE, "c_x4.png": LARGE, ".gpsr-run.jsonl": anything},
    ),
    Fault(
        id="a missing model", clause="a missing file", files={"p.png": PHOTO}, command=["infer", "p.png", "--engine", "no.onnx"], code=3,
        says="error[3] no.onnx",
    ),
    Fault(
        id="a missing model, in JSON", clause="a missing file", files={"p.png": PHOTO}, command=["infer", "p.png", "--engine", "no.onnx", "--json"],
        code=3, says="error[3] no.onnx", prints='"code": 3',
    ),
    Fault(
        id="a missing model, in JSON for two", clause="a missing file", files={"p.png": PHOTO}, command=["infer", "p.png", "q.png", "--engine", "no.onnx", "--json"],
        code=3, says="error[3] no.onnx", prints='{"input": "q.png", "error": "InputUnreadable", "code": 3',
    ),
    Fault(id="inspect what is missing", clause="a missing file", command=["inspect", "no.onnx"], code=3, says="error[3] no.onnx"),
    Fault(id="build from what is missing", clause="a missing file", command=["build", "no.onnx"], code=3, says="error[3] no.onnx"),
    Fault(id="validate on a missing folder", clause="a missing file", command=["validate", "--images", "no"], code=3, says="no folder"),
    Fault(id="a name too long to be one", clause="a missing file", command=["infer", "x" * 300 + ".png"], code=3, says="too long"),
    Fault(id="a path too long to be one", clause="a missing file", command=["infer", "x/" * 3000 + "p.png"], code=3, says="too long"),
]  # fmt: skip

FOLDERS = [
    Fault(
        id="folder in, file out", clause="folders for files", files={"in/p.png": PHOTO, "o": OLD}, command=["infer", "in", "-o", "o"], code=2,
        says="the output is a file",
    ),
    Fault(
        id="folder in, picture out", clause="folders for files", files={"in/p.png": PHOTO}, command=["infer", "in", "-o", "o.png"], code=2,
        says="a folder for several",
    ),
    Fault(
        id="two files in, one out", clause="folders for files", files={"a.png": PHOTO, "b.png": PHOTO},
        command=["infer", "a.png", "b.png", "-o", "o.png"], code=2, says="a folder for several",
    ),
    Fault(
        id="an empty folder", clause="folders for files", arrange=lambda folder: (folder / "in").mkdir(), command=["infer", "in"], code=3,
        says="holds no pictures",
    ),
    Fault(
        id="a folder below a file", clause="folders for files", files={"p.png": PHOTO, "f": OLD}, command=["infer", "p.png", "-o", "f/o.png"],
        code=4, says="error[4]",
    ),
    Fault(
        id="a folder that is named like the output", clause="folders for files", files={"p.png": PHOTO},
        arrange=lambda folder: (folder / "p_x4.png").mkdir(), command=["infer", "p.png"], code=4, says="a folder",
    ),
    Fault(
        id="a folder as a model", clause="folders for files", files={"p.png": PHOTO}, arrange=lambda folder: (folder / "m.onnx").mkdir(),
        command=["infer", "p.png", "--engine", "m.onnx"], code=3, says="no regular file",
    ),
    Fault(
        id="a folder as an engine to write", clause="folders for files", files={"m.onnx": made.shipped},
        arrange=lambda folder: (folder / "o.plan").mkdir(), command=["build", "m.onnx", "-o", "o.plan", "--overwrite"], code=4,
        says="error[4] o.plan",
    ),
    Fault(
        id="a folder that is made", clause="folders for files", files={"p.png": PHOTO}, command=["infer", "p.png", "-o", "a/b/o.png"], code=0,
        leaves={"a/b/o.png": LARGE},
    ),
    Fault(
        id="a folder with junk", clause="a folder with junk",
        files={"in/good.png": PHOTO, "in/bad.png": b"rubbish", "in/cut.jpg": made.later(made.cut, "JPEG", 0.3), "in/notes.txt": b"x", "in/.hidden.png": b"x", "in/empty.gif": b""},
        command=["infer", "in", "-o", "out", "-q"], code=8, says="3 of 4 inputs failed", leaves={"out/good.png": LARGE, "out/.gpsr-run.jsonl": anything},
    ),
    Fault(
        id="a folder with junk, in JSON", clause="a folder with junk", files={"in/good.png": PHOTO, "in/bad.png": b"rubbish"},
        command=["infer", "in", "-o", "out", "--json"], code=8, says="error[3] in/bad.png", prints='"error": "InputUnreadable"', leaves={"out/good.png": LARGE, "out/.gpsr-run.jsonl": anything},
    ),
    Fault(
        id="a folder of junk", clause="a folder with junk", files={"in/bad.png": b"rubbish"}, command=["infer", "in", "-q"], code=8, says="1 of 1",
        leaves={"in/.gpsr-run.jsonl": anything},
    ),
    Fault(
        id="a folder with pipes and loops", clause="a folder with junk", files={"in/good.png": PHOTO},
        arrange=lambda folder: (os.mkfifo(folder / "in" / "a.png"), (folder / "in" / "b.png").symlink_to("b.png"), (folder / "in" / "c").symlink_to("..")),
        command=["infer", "in", "-r", "-o", "out", "-q"], code=8, says="2 of 3", leaves={"out/good.png": LARGE, "out/.gpsr-run.jsonl": anything},
    ),
]  # fmt: skip

RIGHTS = [
    Fault(
        id="a picture that may not be read", clause="unreadable", files={"p.png": PHOTO}, arrange=lambda folder: (folder / "p.png").chmod(0),
        command=["infer", "p.png"], code=3, says="Permission denied", around=DENIED,
    ),
    Fault(
        id="a folder that may not be read", clause="unreadable", files={"in/p.png": PHOTO}, arrange=lambda folder: (folder / "in").chmod(0),
        after=lambda folder: (folder / "in").chmod(0o755), command=["infer", "in"], code=3, says="Permission denied", around=DENIED,
    ),
    Fault(
        id="a folder that may not be entered", clause="unreadable", files={"in/p.png": PHOTO}, arrange=lambda folder: (folder / "in").chmod(0o444),
        after=lambda folder: (folder / "in").chmod(0o755), command=["infer", "in", "-o", "out", "-q"], code=8, says="Permission denied", leaves={"out/.gpsr-run.jsonl": anything}, around=DENIED,
    ),
    Fault(
        id="a subfolder that may not be read", clause="unreadable", files={"in/p.png": PHOTO, "in/sub/q.png": PHOTO}, arrange=lambda folder: (folder / "in" / "sub").chmod(0),
        after=lambda folder: (folder / "in" / "sub").chmod(0o755), command=["infer", "in", "-r", "-o", "out", "-q"], code=8, says="in/sub", leaves={"out/p.png": LARGE}, around=DENIED,
    ),
    Fault(
        id="a model that may not be read", clause="unreadable", files={"p.png": PHOTO, "m.onnx": made.shipped},
        arrange=lambda folder: (folder / "m.onnx").chmod(0), command=["infer", "p.png", "--engine", "m.onnx"], code=3, says="Permission denied",
        around=DENIED,
    ),
    Fault(
        id="a folder that may not be written", clause="unwritable, before inference", files={"p.png": PHOTO, "liar.onnx": liar}, arrange=lambda folder: (folder / "out").mkdir(mode=0o555),
        command=["infer", "p.png", "-o", "out/o.png", "--engine", "liar.onnx"], code=4, says="Permission denied", around=DENIED,
    ),
    Fault(
        id="a folder that may not be made", clause="unwritable, before inference", files={"p.png": PHOTO, "liar.onnx": liar}, arrange=lambda folder: (folder / "out").mkdir(mode=0o555),
        command=["infer", "p.png", "-o", "out/sub/o.png", "--engine", "liar.onnx"], code=4, says="Permission denied", around=DENIED,
    ),
    Fault(
        id="a disk that can only be read", clause="unwritable, before inference", files={"small/p.png": PHOTO, "liar.onnx": liar},
        command=["infer", "small/p.png", "--engine", "liar.onnx"], code=4, says="Read-only", around=Circumstances(disks={"small": "size=64k"}, frozen=["small"]),
    ),
    Fault(
        id="a place that is none", clause="unwritable, before inference", files={"p.png": PHOTO, "liar.onnx": liar},
        command=["infer", "p.png", "-o", "/proc/o.png", "--engine", "liar.onnx"], code=4, says="error[4] /proc/o.png",
    ),
    Fault(
        id="an old output that may not be written is replaced all the same", clause="the output exists", files={"p.png": PHOTO, "p_x4.png": OLD}, arrange=lambda folder: (folder / "p_x4.png").chmod(0o444),
        command=["infer", "p.png", "--overwrite"], code=0, leaves={"p_x4.png": LARGE}, around=DENIED,
    ),
    Fault(
        id="an engine where nothing may be written", clause="unwritable, before inference", files={"m.onnx": made.shipped}, arrange=lambda folder: (folder / "out").mkdir(mode=0o555),
        command=["build", "m.onnx", "-o", "out/x.plan"], code=4, says="Permission denied", around=DENIED,
    ),
]  # fmt: skip

EXISTS = [
    Fault(
        id="the output exists", clause="the output exists", files={"p.png": PHOTO, "p_x4.png": OLD, "liar.onnx": liar},
        command=["infer", "p.png", "--engine", "liar.onnx", "--suffix", "_x4"], code=4, says="--overwrite",
    ),
    Fault(
        id="the output exists and is skipped", clause="the output exists", files={"p.png": PHOTO, "p_x4.png": OLD},
        command=["infer", "p.png", "--skip-existing"], code=0,
    ),
    Fault(
        id="the output exists and is replaced", clause="the output exists", files={"p.png": PHOTO, "p_x4.png": OLD},
        command=["infer", "p.png", "--overwrite"], code=0, leaves={"p_x4.png": LARGE},
    ),
    Fault(
        id="a broken picture replaces nothing", clause="the output exists", files={"p.png": made.later(made.cut, "PNG", 0.6), "p_x4.png": OLD},
        command=["infer", "p.png", "--overwrite"], code=3, says="error[3] p.png",
    ),
    Fault(
        id="an engine exists", clause="the output exists", files={"m.onnx": made.shipped, "m.plan": OLD}, command=["build", "m.onnx"], code=4,
        says="--overwrite",
    ),
    Fault(
        id="a sidecar exists", clause="the output exists", files={"m.onnx": made.shipped, "m.plan.json": OLD}, command=["build", "m.onnx"], code=4,
        says="m.plan.json",
    ),
    Fault(
        id="output = input", clause="the output is the input", files={"p.png": PHOTO}, command=["infer", "p.png", "-o", "p.png", "--overwrite"],
        code=2, says="the output is an input",
    ),
    Fault(
        id="output = input by another path", clause="the output is the input", files={"p.png": PHOTO},
        arrange=lambda folder: (folder / "sub").mkdir(), command=["infer", "p.png", "-o", "sub/../p.png", "--overwrite"], code=2,
        says="the output is an input",
    ),
    Fault(
        id="output = input by an empty suffix", clause="the output is the input", files={"p.png": PHOTO},
        command=["infer", "p.png", "--suffix", "", "--overwrite"], code=2, says="the output is an input",
    ),
    Fault(
        id="output = input by folder", clause="the output is the input", files={"in/p.png": PHOTO},
        command=["infer", "in", "-o", "in", "--overwrite"], code=2, says="the output is an input",
    ),
    Fault(
        id="output = input by a link", clause="the output is the input", files={"p.png": PHOTO},
        arrange=lambda folder: (folder / "o.png").symlink_to("p.png"), command=["infer", "p.png", "-o", "o.png", "--overwrite"], code=2,
        says="the output is an input",
    ),
    Fault(
        id="output = input by a hard link", clause="the output is the input", files={"p.png": PHOTO},
        arrange=lambda folder: (folder / "o.png").hardlink_to(folder / "p.png"), command=["infer", "p.png", "-o", "o.png", "--overwrite"], code=2,
        says="the output is an input",
    ),
    Fault(
        id="an engine over its model", clause="the output is the input", files={"m.plan": made.shipped},
        command=["build", "m.plan", "-o", "m.plan", "--overwrite"], code=2, says="one file for two purposes",
    ),
    Fault(
        id="a timing cache that is a photograph", clause="the output is the input", files={"m.onnx": made.shipped, "p.png": PHOTO},
        command=["build", "m.onnx", "--timing-cache", "p.png"], code=2, says="no timing cache",
    ),
    Fault(
        id="two inputs of one output", clause="the output is the input", files={"a.png": PHOTO, "a.jpg": PHOTO},
        command=["infer", "a.png", "a.jpg", "-f", "webp"], code=2, says="would both be written there",
    ),
]  # fmt: skip

FAULTS: list[Fault] = [*MISSING, *FOLDERS, *RIGHTS, *EXISTS]
