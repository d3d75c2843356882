"""Faults of films and pipes: those that one command shows; more, with more than one process or run, are in the tests of video."""

from __future__ import annotations

import io
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from faults import made
from faults.fault import ABSENT, Circumstances, Content, Fault

HEADER = b"YUV4MPEG2 W24 H18 F25:1 Ip C420jpeg\n"
FRAME = b"FRAME\n" + bytes(24 * 18 * 3 // 2)
OLD = b"a film of old"


def engine() -> bytes:
    """A network that repeats every pixel."""
    import films

    return films.nearest_content()


def sound() -> bytes:
    """A film without pictures."""
    import av

    out = io.BytesIO()
    with av.open(out, "w", format="matroska") as output:
        stream = output.add_stream("aac", rate=48000, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        frame.sample_rate = 48000
        output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    return out.getvalue()


def film(count: int = 4) -> Callable[[Path], None]:
    """Writes in.mkv, of so many frames."""

    def arrange(folder: Path) -> None:
        import films

        films.write(folder / "in.mkv", films.moving(count))

    return arrange


def fault(
    id: str,
    clause: str,
    content: Content | None,
    *more: str,
    code: int = 3,
    says: str = "error[3] in.",
    name: str = "in.mkv",
    out: str = "out.mkv",
    **others: object,
) -> Fault:
    """A film enlarged by the network that repeats pixels."""
    files: dict[str, Content] = {"m.onnx": engine} | ({} if content is None else {name: content})
    command = ["video", name, "-o", out, "--engine", "m.onnx", "-q", *more]
    return Fault(
        id=id, clause=clause, files=files | others.pop("files", {}), command=command, code=code, says=says, **others
    )  # type: ignore[arg-type, operator]


FILMS = [
    fault("a film that is missing", "no film", None),
    fault("an empty film", "no film", b""),
    fault("a film of rubbish", "no film", bytes(range(256)) * 20),
    fault("a picture for a film", "no film", made.later(made.photo_file, "PNG")),
    fault("a film of sound", "no film", sound),
    fault("a playlist of FFmpeg's", "a playlist", b"ffconcat version 1.0\nfile /etc/passwd\n", name="in.mp4"),
    fault("a playlist of HTTP's", "a playlist", b"#EXTM3U\n#EXTINF:1,\nfile:///etc/passwd\n", name="in.mp4"),
    fault("a description of a session", "a playlist", b"v=0\no=- 0 0 IN IP4 127.0.0.1\nm=video 5004 RTP/AVP 96\n", name="in.mp4"),
    *(
        fault(id, "y4m that is cut or lies", content, name="in.y4m", out="-", says="error[3]", around=Circumstances(stdout="/dev/null"))
        for id, content in {
            "y4m that ends in its header": HEADER[:20],
            "y4m of interlaced frames": HEADER.replace(b"Ip", b"It") + FRAME,
            "y4m of a size that no memory holds": HEADER.replace(b"W24 H18", b"W999999 H999999") + FRAME,
            "y4m of no size": HEADER.replace(b"W24", b"W0") + FRAME,
            "y4m of a rate of nothing": HEADER.replace(b"25:1", b"0:0") + FRAME,
            "y4m of a colour space that is none": HEADER.replace(b"420jpeg", b"\x1b[2J") + FRAME,
            "y4m that ends in a frame": HEADER + FRAME + FRAME[:100],
            "y4m whose frames have no beginning": HEADER + FRAME + b"FRAMES",
            "y4m of a header without an end": b"YUV4MPEG2 " + b"W1 " * 4000,
        }.items()
    ),
    fault(
        "y4m on a full stdout", "the reader of a pipe", HEADER + FRAME, name="in.y4m", out="-", code=4, says="error[4] stdout",
        around=Circumstances(stdout="/dev/full"),
    ),
    fault(
        "y4m on a stdout whose reader is gone", "the reader of a pipe", HEADER + FRAME * 20, name="in.y4m", out="-", code=4, says="",
        around=Circumstances(prelude="import os\nr, w = os.pipe()\nos.dup2(w, 1)\nos.close(r)\nos.close(w)", closed=[2]),
    ),
    fault(
        "y4m on a closed stdout", "the reader of a pipe", HEADER + FRAME, name="in.y4m", out="-", code=4, says="error[4] stdout",
        around=Circumstances(closed=[1]),
    ),
    fault("a film that is there", "a film that cannot be written", None, code=4, says="--overwrite", files={"out.mkv": OLD}, arrange=film()),
    fault("a film over itself", "a film that cannot be written", None, "--overwrite", code=2, says="error[2]", out="in.mkv", arrange=film()),
    fault("a film of a kind that is not written", "a film that cannot be written", None, code=2, says="error[2]", out="out.xyz", arrange=film()),
    fault(
        "a film where nothing may be written", "a film that cannot be written", None, code=4, says="Permission denied", out="locked/out.mkv",
        arrange=lambda folder: (film()(folder), (folder / "locked").mkdir(mode=0o555)), around=Circumstances(unprivileged=True),
    ),
    fault(
        "a film on a full disk", "a film that cannot be written", None, "--overwrite", code=4, says="error[4]", files={"out.mkv": OLD},
        arrange=film(30), others_in="out.mkv.segments", around=Circumstances(limits={"fsize": 2000}),
    ),
    fault(
        "a film whose disk fills in the last step", "a film that cannot be written", None, code=4, says="error[4]", out="small/out.mkv", arrange=film(30), others_in="small/out.mkv.segments",
        leaves={"small/out.mkv": ABSENT}, around=Circumstances(disks={"small": "size=24k"}),
    ),
    fault("a pipe to go on with", "a film that cannot be written", None, "--resume", code=2, says="--resume", name="-"),
]  # fmt: skip

FAULTS: list[Fault] = FILMS if find_spec("av") else []
