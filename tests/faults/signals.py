"""Faults of time: SIGINT and SIGTERM at every stage of every command."""

from __future__ import annotations

import signal

import cv2
import numpy as np
import pyvips

from faults import made
from faults.fault import Circumstances, Fault, Signal, anything, picture
from faults.moments import busy, loading, reading, writing

SIGINT, SIGTERM = signal.SIGINT, signal.SIGTERM
INTERRUPTED = "interrupted"
OLD = b"precious, though no picture"
CLAUSE = "SIGINT and SIGTERM"
ONE = ["--threads", "1"]
"""So that the network is at work for as long on a machine of many cores."""


def large() -> bytes:
    """A picture that takes the network, in one thread, most of a minute."""
    return cv2.imencode(".png", made.photo(1024, 1024))[1].tobytes()


def middling() -> bytes:
    """One that takes it some seconds, and a gibibyte where it is not cut."""
    return cv2.imencode(".png", made.photo(512, 512))[1].tobytes()


def interlaced() -> bytes:
    """A picture that takes the decoder seconds, all in one piece of native code."""
    return (
        pyvips.Image.black(15_000, 15_000, bands=3)
        .copy(interpretation="srgb")
        .pngsave_buffer(interlace=True, compression=1)
    )


def noise() -> bytes:
    """A picture whose result takes the encoder a while."""
    return cv2.imencode(".png", np.random.default_rng(0).integers(0, 256, (300, 300, 3), np.uint8))[1].tobytes()


FAULTS: list[Fault] = [
    *(
        Fault(
            id=f"{number.name} in the network", clause=CLAUSE, files={"p.png": middling, "p_x4.png": OLD}, command=["infer", "p.png", "--no-tile", "--overwrite", "-q", *ONE],
            code=128 + number, signal=Signal(number=number, when=busy(1.5)),
        )
        for number in (SIGINT, SIGTERM)
    ),
    Fault(
        id="SIGINT between tiles", clause=CLAUSE, files={"p.png": large}, command=["infer", "p.png", "-t", "96", "-q", *ONE], code=130, says=INTERRUPTED,
        signal=Signal(number=SIGINT, when=busy(1.5)),
    ),
    Fault(
        id="SIGINT twice", clause=CLAUSE, files={"p.png": large}, command=["infer", "p.png", "-t", "96", "-q", *ONE], code=130,
        signal=Signal(number=SIGINT, when=busy(1.5), again=0.02),
    ),
    Fault(
        id="SIGTERM twice", clause=CLAUSE, files={"p.png": large}, command=["infer", "p.png", "-t", "96", "-q", *ONE], code=143,
        signal=Signal(number=SIGTERM, when=busy(1.5), again=0.02), slow=True,
    ),
    Fault(
        id="SIGINT under a bar", clause=CLAUSE, files={"p.png": large}, command=["infer", "p.png", "-t", "96", *ONE], code=130, says=INTERRUPTED,
        around=Circumstances(terminal=True), signal=Signal(number=SIGINT, when=busy(1.5)),
    ),
    Fault(
        id="SIGINT while OpenVINO is imported", clause=CLAUSE, files={"p.png": large}, command=["infer", "p.png"], code=130, says=INTERRUPTED,
        signal=Signal(number=SIGINT, when=loading("_pyopenvino")),
    ),
    Fault(
        id="SIGINT while onnxruntime is imported", clause=CLAUSE, files={"p.png": large}, command=["infer", "p.png", "--runtime", "onnxruntime"], code=130, says=INTERRUPTED,
        signal=Signal(number=SIGINT, when=loading("onnxruntime_pybind11_state")),
    ),
    Fault(
        id="SIGTERM while onnxruntime is imported", clause=CLAUSE, files={"p.png": large}, command=["infer", "p.png", "--runtime", "onnxruntime"], code=143,
        signal=Signal(number=SIGTERM, when=loading("onnxruntime_pybind11_state")),
    ),
    Fault(
        id="SIGINT while numpy is imported", clause=CLAUSE, files={"p.png": large}, command=["infer", "p.png"], code=130, says=INTERRUPTED,
        signal=Signal(number=SIGINT, when=loading("_multiarray_umath")),
    ),
    Fault(
        id="SIGINT while libvips is imported", clause=CLAUSE, files={"p.png": large}, command=["infer", "p.png"], code=130, says=INTERRUPTED,
        signal=Signal(number=SIGINT, when=loading("libvips")),
    ),
    *(
        Fault(
            id=f"{number.name} while a picture is decoded", clause=CLAUSE, files={"p.png": interlaced}, command=["infer", "p.png", "-q"], code=128 + number,
            signal=Signal(number=number, when=reading("p.png")), within=120, slow=number is SIGTERM,
        )
        for number in (SIGINT, SIGTERM)
    ),
    *(
        Fault(
            id=f"{number.name} while a picture is encoded", clause=CLAUSE, files={"p.png": noise, "p_x4.png": OLD}, command=["infer", "p.png", "--overwrite", "-q"], code=128 + number,
            signal=Signal(number=number, when=writing(".*.tmp")), slow=number is SIGTERM,
        )
        for number in (SIGINT, SIGTERM)
    ),
    Fault(
        id="SIGTERM in a folder keeps what is done", clause=CLAUSE, files={"in/a.png": made.later(made.photo_file, "PNG"), "in/b.png": large}, command=["infer", "in", "-o", "out", "-q", *ONE], code=143,
        leaves={"out/a.png": picture(48, 60), "out/.gpsr-run.jsonl": anything}, signal=Signal(number=SIGTERM, when=busy(2.0)),
    ),
    Fault(
        id="SIGINT in a self-ensemble", clause=CLAUSE, files={"p.png": middling}, command=["infer", "p.png", "-x", "--no-tile", "-q", *ONE], code=130,
        signal=Signal(number=SIGINT, when=busy(3.0)), slow=True,
    ),
    Fault(
        id="SIGINT in OpenVINO", clause=CLAUSE, files={"p.png": large}, command=["infer", "p.png", "--runtime", "openvino", "--no-tile", "-q", *ONE],
        code=130, signal=Signal(number=SIGINT, when=busy(4.0)), slow=True,
    ),
    Fault(
        id="SIGINT in bench", clause=CLAUSE, command=["bench", "--rounds", "1000"], code=130, signal=Signal(number=SIGINT, when=busy(2.0)),
        slow=True,
    ),
    Fault(id="SIGTERM in validate", clause=CLAUSE, command=["validate"], code=143, signal=Signal(number=SIGTERM, when=busy(2.0)), slow=True),
    Fault(
        id="SIGINT in build", clause=CLAUSE, files={"m.onnx": made.shipped}, command=["build", "m.onnx", "-q"], code=130,
        signal=Signal(number=SIGINT, when=busy(1.0)),
    ),
]  # fmt: skip
