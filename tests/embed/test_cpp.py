"""embed/cpp: built with CMake, compared with the Python library tile by tile and pixel by pixel, and fed what is hostile."""

import ctypes
import dataclasses
import functools
import hashlib
import json
import operator
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
import unicodedata
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import onnx
import openvino
import plans
import pytest
import specs
from onnx import TensorProto, helper, numpy_helper
from project import ROOT
from specs import ENGINE, FIELDS, HOSTILE, OBJECTS, changed

import gpsr_deploy
from gpsr_deploy import errors, models
from gpsr_deploy.backends.openvino import OpenVinoBackend
from gpsr_deploy.errors import GpsrError
from gpsr_deploy.media import images
from gpsr_deploy.model_files import engine as engine_file
from gpsr_deploy.model_files import onnx as onnx_file
from gpsr_deploy.spec import EngineSpec, Profile
from gpsr_deploy.upscaling import tiles, upscale

SOURCE = ROOT / "embed" / "cpp"
sys.path.insert(0, str(SOURCE / "tests"))
from binding import PROGRESS, Library, Refused, RunOptions, Spec, picture, sized  # noqa: E402
from hostile import DOUBLE, VALID, edited, hostile_models, mutants, mutated_models, tiny, value, weights, with_weights  # noqa: E402

BIN = Path(sys.executable).parent
CMAKE, NINJA = (shutil.which(name) or shutil.which(name, path=str(BIN)) for name in ("cmake", "ninja"))
COMPILER = next(filter(shutil.which, ("c++", "g++", "clang++")), None)

pytestmark = pytest.mark.skipif(not CMAKE or not COMPILER, reason="no CMake, or no C++ compiler")

OK, USAGE, UNREADABLE, UNWRITABLE, REFUSED, OUT_OF_MEMORY, CANCELLED = 0, 2, 3, 4, 5, 6, 130


def run(*command, **options):
    """A command that has to end well: what it says."""
    ended = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False, **options)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout


@dataclasses.dataclass(frozen=True)
class Build:
    """A build tree, and what CMake said of it."""

    folder: Path
    said: str

    def program(self, name):
        return self.folder / "bin" / name

    def library(self, name):
        return Library(self.folder / "lib" / f"lib{name}.so")


def configured(folder, *options):
    """Configures and builds embed/cpp in `folder`."""
    generator = ["-G", "Ninja", f"-DCMAKE_MAKE_PROGRAM={NINJA}"] if NINJA else []
    found = Path(openvino.__file__).parent / "cmake"
    said = run(CMAKE, "-S", SOURCE, "-B", folder, *generator, f"-DOpenVINO_DIR={found}", "-DGPSR_WERROR=ON", *options)
    run(CMAKE, "--build", folder, "--parallel", "2")
    (folder / "said.txt").write_text(said)
    return Build(folder, said)


@pytest.fixture(scope="session")
def built(tmp_path_factory):
    """One build for all tests; a slow test hands over another one, with sanitizers in it."""
    if "GPSR_CPP_BUILD" in os.environ:
        folder = Path(os.environ["GPSR_CPP_BUILD"])
        return Build(folder, (folder / "said.txt").read_text())
    # In few units and hardly optimised, which takes a third of the time: a slow test builds it as users do.
    quick = ["-DCMAKE_UNITY_BUILD=ON", "-DCMAKE_UNITY_BUILD_BATCH_SIZE=5", "-DCMAKE_CXX_FLAGS_RELEASE=-O1"]
    return configured(tmp_path_factory.mktemp("cpp"), "-DGPSR_TESTS=ON", "-DCMAKE_INSTALL_LIBDIR=lib", *quick)


# --- The C interface, as another language calls it ---


@pytest.fixture(scope="session")
def library(built):
    return built.library("gpsr")


def refused(status, match, call, *arguments, **options):
    """The line with which a call is refused."""
    with pytest.raises(Refused, match=match) as caught:
        call(*arguments, **options)
    assert caught.value.status == status
    return caught.value.line


def test_it_is_the_version_of_the_package_and_has_its_runtime(library):
    assert library.c.gpsr_version().decode() == gpsr_deploy.__version__
    assert "openvino" in library.c.gpsr_runtimes().decode().split()


def test_nothing_but_the_interface_is_exported(built):
    symbols = run("nm", "-D", "--defined-only", built.folder / "lib" / "libgpsr.so").split("\n")
    exported = {line.split()[-1] for line in symbols if line}
    declared = set(re.findall(r"(gpsr_\w+)\(", (SOURCE / "include" / "gpsr" / "gpsr.h").read_text()))
    assert exported - {"gpsr_version"} == declared - {"gpsr_version"}


# --- The parts, against Python's ---


def probe(built, part, cases):
    """What gpsr-probe says of each case (bytes or text)."""
    encoded = [case.encode("utf-8", "surrogateescape") if isinstance(case, str) else case for case in cases]
    sent = b"".join(len(case).to_bytes(8, "little") + case for case in encoded)
    ended = subprocess.run([built.program("gpsr-probe"), part], input=sent, capture_output=True, check=False)
    assert ended.returncode == 0, ended.stderr.decode(errors="replace")[-3000:]
    lines = ended.stdout.decode().split("\n")[:-1]
    assert len(lines) == len(cases)
    return lines


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


def spans(axis):
    return [[span.start, span.stop, span.keep_start, span.keep_stop] for span in axis]


def same_or_refused(line, python):
    """Whether C++ gives what the call of Python gives, or refuses it by the same code."""
    try:
        expected = python()
    except GpsrError as error:
        return line.startswith(f"error[{error.exit_code}] {error.message}")
    return json.loads(line) == expected


def test_tile_plans_are_those_of_python_on_a_thousand_random_sizes(built):
    draw, cases, planned = random.Random(1), [], 0
    for _ in range(1000):
        step = draw.choice([1, 2, 3, 3, 3, 4])
        halo = step * draw.choice([0, 1, 4, 8, 12])
        tile = [2 * halo + step * draw.randint(-1, 60) + draw.choice([0, 0, 0, 0, 1]) for _ in range(2)]
        cases.append((draw.randint(0, 900) or 5000, draw.randint(1, 900), *tile, halo, step))

    def python(height, width, tile_height, tile_width, halo, step):
        plan = tiles.plan(height, width, tile=(tile_height, tile_width), halo=halo, multiple_of=step)
        return [spans(plan.rows), spans(plan.cols)]

    for case, line in zip(cases, probe(built, "plan", [" ".join(map(str, case)) for case in cases]), strict=True):
        assert same_or_refused(line, functools.partial(python, *case)), (case, line)
        planned += not line.startswith("error")
    assert 500 < planned < 1000


def test_the_tiles_that_fit_into_memory_are_those_of_python(built):
    draw, cases = random.Random(2), []
    for _ in range(300):
        step = draw.choice([1, 3, 3, 4])
        most = draw.choice([1, 1000, 10_000, 150_000, 10**7])
        cases.append(
            (
                draw.randint(1, 3000),
                draw.randint(1, 3000),
                step * draw.randint(0, 12),
                step,
                most,
                draw.choice([1, 3, 24]),
            )
        )

    def python(height, width, halo, step, most, keep):
        return list(tiles.fit(height, width, halo=halo, multiple_of=step, max_pixels=most, min_keep=keep))

    for case, line in zip(cases, probe(built, "fit", [" ".join(map(str, case)) for case in cases]), strict=True):
        assert same_or_refused(line, functools.partial(python, *case)), (case, line)


def test_pictures_are_cut_as_python_cuts_them(built):
    """Whatever is asked for, by the memory at hand or an engine's profile."""
    draw, cases, calls = random.Random(3), [], []
    for _ in range(500):
        step, maybe = draw.choice([1, 3, 3, 4]), lambda value: draw.choice([None, value])
        size = draw.randint(1, 1500), draw.randint(1, 1500)
        tile = maybe((draw.randint(1, 400), draw.randint(1, 400)))
        tiling = upscale.Tiling(
            tile=tile, halo=maybe(draw.randint(0, 40)), whole=draw.random() < 0.1, batch=maybe(draw.randint(1, 6))
        )
        sides = [[step * side for side in sorted(draw.choices(range(1, 200), k=3))] for _ in range(2)]
        low, best, high = zip(*sides, strict=True)
        profile = maybe(Profile(min=low, opt=best, max=high, batch=draw.randint(1, 5)))
        spec = dataclasses.replace(
            plans.SR, multiple_of=step, halo=step * draw.randint(0, 12), tiling=draw.choice(["aligned"] * 9 + ["whole"])
        )
        backend = SimpleNamespace(spec=spec, profile=profile, bytes_per_pixel=draw.choice([1000, 6720, 90_000]))
        available = draw.choice([1 << 24, 1 << 28, 1 << 34])
        calls.append((backend, size, tiling, available))
        words = [*size, *(tile or "--"), tiling.halo, int(tiling.whole), tiling.batch, available]
        words += [spec.halo, step, spec.tiling, backend.bytes_per_pixel]
        words += [*low, *best, *high, profile.batch] if profile else [None]
        cases.append(" ".join("-" if word is None else str(word) for word in words))

    def python(backend, size, tiling, available):
        plan, halo = upscale.plan_for(backend, *size, tiling=tiling, available=available)
        most = backend.profile.batch if backend.profile else tiling.batch or 1
        return [spans(plan.rows), spans(plan.cols), halo, min(tiling.batch or most, most)]

    lines = probe(built, "cut", cases)
    for case, call, line in zip(cases, calls, lines, strict=True):
        assert same_or_refused(line, functools.partial(python, *call)), (case, line)
    assert 100 < sum(line.startswith("error") for line in lines) < 400


# --- Sidecars, which are hostile input ---


def python_sidecar(content):
    """What Python makes of a sidecar: its values, or None where it is refused."""
    try:
        return dataclasses.asdict(EngineSpec.from_json(content.decode("utf-8")))
    except (UnicodeDecodeError, GpsrError):
        return None


def require_same_verdicts(built, cases):
    accepted = 0
    for case, line in zip(cases, probe(built, "sidecar", cases), strict=True):
        expected = python_sidecar(case)
        assert line.isprintable()
        if expected is None:
            assert line.startswith("error[5] "), (case, line)
            assert len(line) < 1100
        else:
            found = json.loads(line)
            assert found == json.loads(json.dumps(expected)), case
            accepted += 1
    return accepted


def test_a_thousand_mutated_sidecars_are_judged_as_python_judges_them(built):
    assert 30 < require_same_verdicts(built, mutants(1000)) < 900


def test_every_hostile_value_is_judged_as_python_judges_it(built):
    cases = [json.dumps(changed(path, value)).encode() for path in FIELDS for value in HOSTILE]
    assert 0 < require_same_verdicts(built, cases) < len(cases) / 4


@pytest.mark.parametrize("tokens", [
    ["0", "-0", "1", "0.0", "-0.0", "1e0", "1E+0", "10e-1", "1e-400", "0e999", "0.99999999999", "1.0000000000000002"],
    ["1e400", "-1e400", "1e-99999999999", "1e99999999999", "0.0001e99999", "123456789e-99999"],
    ["01", "1.", ".1", "+1", "--1", "1e", "1e+", "0x1", "1_0", "١", "Infinity", "NaN", "1e5 1", "1,", "", "-", "1\0"],
    ["1000000000000000000", "1000000000000000001", "1e18", "9223372036854775807", "9223372036854775808", "9" * 400, "9" * 5000],
], ids=["small", "beyond", "none", "large"])  # fmt: skip
def test_numbers_are_read_as_python_reads_them(built, tokens):
    cases = [
        json.dumps(changed(path, "@")).replace('"@"', token).encode()
        for path in (("costs", "macs_720p"), ("parity", "psnr_db"), ("parity", "max_level"), ("weights", "fp32"))
        for token in tokens
    ]
    require_same_verdicts(built, cases)


def test_values_at_and_beyond_their_limits_are_judged_as_python_judges_them(built):
    """Those of specs.py, and those on the limits."""
    ranges = dict(specs.test_a_value_out_of_range_is_refused.pytestmark[0].args[1])
    limits = {
        ("sr", "name"): ["x" * 100, "x" * 101, "é" * 100, "\U0001f600" * 101, " ", "\u00a0"],
        ("sr", "halo"): [0, 1023, 1024, 1026], ("sr", "scale"): [2, 4, 6, 8, 12, 16, 32], ("sr", "multiple_of"): [1, 3, 6, 1024],
        ("profile", "max"): [[65_535, 65_535], [96, 65_538], [65_538, 240]], ("profile", "batch"): [1, 1024, 1025],
        ("profile", "min"): [[3, 3], [3, 4], [4, 3], [0, 3], [3, -3]],
        ("costs", "params"): [2**31 - 1, 2**31], ("costs", "activation_bytes"): [1, 2**24, 2**24 + 1],
        ("parity", "psnr_db"): [0, 1e4, 10_000, 10_001, None], ("parity", "max_level"): [0, 255, 256],
        ("weights",): [{}, {"bf16": 1}, {"fp32": 0.5, "other": 0.5 + 1e-10}, {"fp32": 0.5, "other": 0.5 + 1e-8}, {"fp32": 1.0, "fp16": 0.5}],
        ("compute_capabilities",): [["8.6", "8.6"], ["10.0"], ["1.0"] * 2, [f"{n}.0" for n in range(32)], [f"{n}.0" for n in range(33)]],
    }  # fmt: skip
    cases = [
        json.dumps(changed(path, one)).encode() for table in (ranges, limits) for path in table for one in table[path]
    ]
    assert 20 < require_same_verdicts(built, cases) < 60


def test_json_is_read_as_strictly_as_in_python(built):
    texts = [
        *(VALID + end for end in (" \n\t\r", "{}", "x", "\0", ",", "\x0b", "\u00a0")),
        *(start + VALID for start in (" \n\t\r", "\ufeff", "\0", "\x0c", "[")),
        VALID + " " * (65_536 - len(VALID)), VALID + " " * (65_537 - len(VALID)), VALID[:-1], VALID.replace(",", ",,", 1),
        VALID.replace("}", ",}", 1), VALID.replace("[", "[,", 1), VALID.replace(":", "", 1), VALID.replace("{", "{{", 1),
    ]  # fmt: skip
    inside = ["\t", "\x1f", "\n", r"\t", r"\u0009", r"\ud83d\ude00", r"\ud83d", r"\ude00", r"\ud83d\u0041", r"\ud83dx", r"\ud83d\ud83d", r"\u00g0",
              r"\u+123", r"\u-123", r"\u 123", r"\u12", "\\", r"\/\"\\", r"\x41", r"\U00000041", "\x7f", "é", "\ud83d"]  # fmt: skip
    texts += [VALID.replace("gpsr-nano-x4", one) for one in inside]
    for path in (*OBJECTS, ("weights",)):
        inner = functools.reduce(operator.getitem, path, ENGINE)
        key = next(iter(inner))
        twice = json.dumps(inner)[:-1] + f", {json.dumps(key)}: {json.dumps(inner[key])}}}"
        texts.append(json.dumps(changed(path, "@")).replace('"@"', twice) if path else twice)
    assert require_same_verdicts(built, [text.encode("utf-8", "surrogatepass") for text in texts]) == 6


def test_a_hundred_thousand_brackets_and_a_mebibyte_are_refused_at_once(built):
    cases = [
        b"[" * 10**5,
        b"[" * 65_000,
        b'{"a":' * 10**5,
        b'{"a":' * 13_000,
        b'"' + b"x" * 2**20 + b'"',
        b"[" + b"0," * 30_000 + b"0]",
        b" " * 65_536,
        b"",
    ]
    begin = time.perf_counter()
    assert require_same_verdicts(built, cases) == 0
    assert time.perf_counter() - begin < 2


# --- ONNX files, which are hostile input too ---


def python_onnx(content):
    try:
        model = onnx_file.check(content)
    except GpsrError as error:
        return error
    return [dataclasses.asdict(model.spec), dataclasses.asdict(model.costs)]


@pytest.mark.parametrize("name", list(hostile_models()))
def test_a_hostile_model_is_refused_as_in_python(built, name):
    content = hostile_models()[name].SerializeToString()
    (line,) = probe(built, "onnx", [content])
    assert isinstance(python_onnx(content), GpsrError), "this test's model is not hostile"
    assert line.startswith("error[5] "), line
    assert line.isprintable()


def test_graphs_beside_the_graph_are_refused_whatever_is_in_them(built):
    """Python looks into them. Here nobody does."""
    node = helper.make_node("Identity", ["lr"], ["x"])
    inner = helper.make_graph([helper.make_node("Identity", ["a"], ["b"])], "inner", [value("a")], [value("b")])
    node.attribute.append(helper.make_attribute("g", inner))
    untyped = onnx.NodeProto.FromString(node.SerializeToString())
    untyped.attribute[0].ClearField("type")
    cases = [tiny(between=[node]), tiny(between=[untyped]), edited(tiny(), lambda m: m.training_info.add())]
    for line in probe(built, "onnx", [case.SerializeToString() for case in cases]):
        assert line.startswith("error[5] "), line


def test_sound_models_are_taken_and_say_of_themselves_what_python_reads(built):
    cases = [path.read_bytes() for path in models.files()] + [
        tiny().SerializeToString(),
        with_weights(weights([0.25])).SerializeToString(),
    ]
    for case, line in zip(cases, probe(built, "onnx", cases), strict=True):
        assert json.loads(line) == python_onnx(case)


def test_two_graphs_two_tensors_or_two_types_are_no_model(built):
    """Of a message that stands there twice readers make one: what was looked at is not what would run."""
    content = with_weights(weights([1.0])).SerializeToString()
    model = onnx.ModelProto.FromString(content)
    node = helper.make_node("Constant", [], ["w"], value=TensorProto(data_type=TensorProto.FLOAT, dims=[1]))
    attribute = node.attribute[0].SerializeToString()
    halves = attribute + onnx.AttributeProto(t=TensorProto(raw_data=b"\0\0\xc0\x7f")).SerializeToString()
    assert np.isnan(numpy_helper.to_array(onnx.AttributeProto.FromString(halves).t)).all()
    twice = tiny(between=[helper.make_node("Add", ["lr", "w"], ["x"])])
    inner = node.SerializeToString().replace(attribute, halves)
    inner = (
        inner[: inner.index(halves) - 1] + bytes([len(halves)]) + halves + inner[inner.index(halves) + len(halves) :]
    )
    node = onnx.NodeProto.FromString(inner)
    assert len(node.attribute) == 1
    graph = twice.graph.SerializeToString() + b"\x0a" + bytes([len(inner)]) + inner
    body = onnx.ModelProto.FromString(twice.SerializeToString())
    body.ClearField("graph")
    merged = body.SerializeToString() + b"\x3a" + length(len(graph)) + graph
    cases = [content + onnx.ModelProto(graph=model.graph).SerializeToString(), merged]
    for line in probe(built, "onnx", cases):
        assert line.startswith("error[5] this is no ONNX file, or a damaged one")


def length(size):
    """As a protocol buffer's varint."""
    return bytes([size]) if size < 0x80 else bytes([0x80 | size & 0x7F]) + length(size >> 7)


def test_a_flipped_bit_anywhere_in_a_model_that_ships_is_found(built):
    content, draw = models.shipped(4).read_bytes(), random.Random(4)
    cases = []
    for place in [*range(60), *draw.sample(range(len(content)), 40)]:
        flipped = bytearray(content)
        flipped[place] ^= 1 << draw.randrange(8)
        cases.append(bytes(flipped))
    cases += [content[:size] for size in (0, 1, 100, len(content) // 2, len(content) - 1)]
    for line in probe(built, "onnx", cases):
        assert line.startswith("error[5] "), line


def test_mutated_models_are_at_least_as_refused_as_in_python(built):
    """But for what needs all of ONNX to find, which the runtime has: text that is no UTF-8, opsets, sizes of weights."""
    cases, taken = list(mutated_models(1500)), 0
    for case, line in zip(cases, probe(built, "onnx", cases), strict=True):
        assert line.isprintable()
        if line.startswith("error[5] "):
            continue
        expected = python_onnx(case)
        taken += 1
        if isinstance(expected, GpsrError):
            left = ("no ONNX file, or a damaged one", "of opset", "NaN or infinity")
            assert any(words in expected.found for words in left), (expected, line)
        else:
            assert json.loads(line) == expected
    assert taken > 20


# --- Pixels ---


@pytest.fixture(scope="module")
def doubling(tmp_path_factory):
    """A model of scale 2 that repeats each pixel."""
    path = tmp_path_factory.mktemp("models") / "double.onnx"
    path.write_bytes(tiny().SerializeToString())
    return path


@pytest.fixture(scope="module")
def photo_16(photo):
    """A piece of a photograph in 16 bits, all of whose values differ from those of 8."""
    return photo[:70, :95].astype(np.uint16) * 251 + np.arange(95, dtype=np.uint16)[None, :, None]


def require_equal_pixels(found, expected):
    """At most one level on 0.01 % of the pixels."""
    assert found.shape == expected.shape
    assert found.dtype == expected.dtype
    off = np.abs(found.astype(np.float64) - expected)
    one = 1e-6 if found.dtype == np.float32 else 1 if found.dtype == np.uint8 else 256
    assert off.max() <= one
    assert (off.reshape(*off.shape[:2], -1).max(axis=-1) > 0).mean() <= (1 if found.dtype == np.float32 else 1e-4)


@pytest.mark.parametrize("name", ["gpsr_nano_x4.onnx", "gpsr_nano_x8.onnx", "gpsr_nano_x4_fp16.onnx"])
def test_the_same_pixels_as_in_python(library, photo, photo_16, name):
    (path,) = (one for one in models.files() if one.name == name)
    grey = np.ascontiguousarray(photo[:50, :64, 1])
    pictures = [
        photo[:80, :101],
        photo_16,
        photo_16[:, :, 0].copy(),
        grey,
        photo[:31, :40].astype(np.float32) / 255,
        photo[:1, :1],
        photo[5:7, :1],
    ]
    choices = [
        upscale.Tiling(),
        upscale.Tiling(tile=(75, 84)),
        upscale.Tiling(tile=(54, 72), halo=6),
        upscale.Tiling(whole=True),
    ]
    with OpenVinoBackend(onnx_file.read(path), threads=1) as backend, library.open(path) as model:
        assert model.spec.scale == backend.spec.scale
        assert model.spec.name.decode() == backend.spec.name
        for lr in pictures if name == "gpsr_nano_x4.onnx" else pictures[3:]:  # x8 takes eight times as long
            for tiling in choices if lr.dtype == np.uint8 and lr.ndim == 3 else choices[:1]:
                tile = tiling.tile or (0, 0)
                found = model.upscale(
                    np.ascontiguousarray(lr), tile_height=tile[0], tile_width=tile[1], whole=tiling.whole,
                    has_halo=tiling.halo is not None, halo=tiling.halo or 0,
                )  # fmt: skip
                require_equal_pixels(found, upscale.upscale(backend, lr, tiling=tiling).sr)


def doubled(lr):
    return lr.repeat(2, axis=0).repeat(2, axis=1)


@pytest.mark.parametrize("kind", [np.uint8, np.uint16, np.float32])
@pytest.mark.parametrize("channels", [(), (3,)], ids=["grey", "rgb"])
def test_every_value_passes_through_every_layout_unchanged(library, doubling, kind, channels):
    draw = np.random.default_rng(0)
    count = int(np.prod((257, 256, *channels)))
    values = draw.random(count) if kind is np.float32 else np.arange(count) % (np.iinfo(kind).max + 1)
    lr = values.astype(kind).reshape(257, 256, *channels)
    if not channels and kind is np.float32:
        lr = np.round(lr * 64) / 64  # of which the mean of three is exact
    with library.open(doubling) as model:
        expected = doubled(lr)
        np.testing.assert_array_equal(model.upscale(lr), expected)
        np.testing.assert_array_equal(model.upscale(lr, tile_height=64, tile_width=100, has_halo=1, halo=4), expected)

        wide = np.full((257, 300, *channels), 7, kind)  # rows with a gap between
        wide[:, :256] = lr
        target = np.full((514, 600, *channels), 9, kind)
        model.upscale(wide[:, :256], sr=target[:, :512])
        np.testing.assert_array_equal(target[:, :512], expected)
        assert (target[:, 512:] == 9).all()

        below = np.empty_like(expected)  # from the last row up
        model.upscale(lr[::-1], sr=below[::-1])
        np.testing.assert_array_equal(below, expected)
        if channels:
            np.testing.assert_array_equal(model.upscale(lr, order=(1, 0)), expected[:, :, ::-1])
            np.testing.assert_array_equal(model.upscale(lr, order=(1, 1)), expected)


def test_values_beyond_the_range_are_clipped_and_rounded_to_the_nearest(library, tmp_path):
    for shift, places in ((0.5, 8), (-0.5, 8), (0.4 / 255, 8), (0.6 / 255, 8), (0.5 / 65535, 16)):
        path = tmp_path / "shift.onnx"
        path.write_bytes(with_weights(weights([shift])).SerializeToString())
        lr = np.arange(256, dtype=np.uint8 if places == 8 else np.uint16).reshape(16, 16)
        with OpenVinoBackend(onnx_file.read(path)) as backend, library.open(path) as model:
            np.testing.assert_array_equal(model.upscale(lr), upscale.upscale(backend, lr).sr)


def test_a_grey_picture_takes_the_mean_of_rgb(library, tmp_path):
    path = tmp_path / "tint.onnx"
    path.write_bytes(with_weights(weights([[[0.5]], [[-0.25]], [[0.125]]])).SerializeToString())
    lr = np.random.default_rng(0).integers(0, 256, (40, 40), np.uint8)
    with OpenVinoBackend(onnx_file.read(path)) as backend, library.open(path) as model:
        np.testing.assert_array_equal(model.upscale(lr), upscale.upscale(backend, lr).sr)


# --- What else the interface says ---


def test_progress_goes_from_none_to_all_tiles_and_cancels(library, doubling, photo):
    told = []

    def tell(_user, done, total):
        told.append((done, total))
        return len(told) == stop

    options = {"tile_height": 64, "tile_width": 64, "has_halo": 1, "progress": PROGRESS(tell)}
    with library.open(doubling) as model:
        stop = 0
        model.upscale(photo, **options)
        assert told == [(done, 16) for done in range(17)]
        cut = model.cut(256, 256, tile_height=64, tile_width=64, has_halo=1)
        assert (cut.tiles, cut.tile_height, cut.tile_width, cut.halo) == (16, 64, 64, 0)
        for stop in (1, 5, 17):
            told.clear()
            refused(CANCELLED, "cancelled", model.upscale, photo, **options)
            assert len(told) == stop
        stop = 0
        np.testing.assert_array_equal(model.upscale(photo), doubled(photo))


def test_batches_of_tiles_give_the_same_pixels(library, doubling, photo):
    told = []
    note = PROGRESS(lambda _user, done, total: told.append((done, total)) and 0 or 0)
    with library.open(doubling) as model:
        found = model.upscale(photo, tile_height=64, tile_width=64, has_halo=1, batch=5, progress=note)
    np.testing.assert_array_equal(found, doubled(photo))
    assert told == [(0, 16), (5, 16), (10, 16), (15, 16), (16, 16)]


def test_results_that_are_not_finite_are_refused_with_their_place(library, tmp_path, photo):
    path = tmp_path / "nan.onnx"
    nodes = [helper.make_node("Sub", ["lr", "w"], ["d"]), helper.make_node("Sqrt", ["d"], ["x"])]
    path.write_bytes(
        tiny(
            between=nodes, initializers=[edited(weights([0.5]), lambda w: setattr(w, "name", "w"))]
        ).SerializeToString()
    )
    lr = np.full((40, 200), 255, np.uint8)
    lr[20, 170] = 0
    with library.open(path) as model:
        line = refused(REFUSED, "NaN", model.upscale, lr, tile_height=48, tile_width=48, has_halo=1)
        assert "row 0, column 144" in line


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), 2.5, -1.5, 255.0])
def test_floats_far_from_their_range_are_refused(library, doubling, bad):
    lr = np.zeros((9, 9, 3), np.float32)
    lr[4, 4, 1] = bad
    with library.open(doubling) as model:
        refused(USAGE, "values", model.upscale, lr)


def test_requests_that_contradict_themselves_are_refused(library, doubling):
    lr, sr = np.zeros((9, 9, 3), np.uint8), np.zeros((18, 18, 3), np.uint8)
    with library.open(doubling) as model:

        def call(wrong_lr=None, wrong_sr=None, **options):
            taken, given = picture(lr), picture(sr)
            for view, changes in ((taken, wrong_lr or {}), (given, wrong_sr or {})):
                for name, number in changes.items():
                    setattr(view, name, number)
            options = sized(RunOptions, **options) if "struct_size" not in options else RunOptions(**options)
            model.check(
                model.c.gpsr_upscale(model.handle, ctypes.byref(taken), ctypes.byref(given), ctypes.byref(options))
            )

        call()
        for wrong in (
            {"pixels": None}, {"height": 0}, {"width": -1}, {"height": 1 << 40}, {"stride": 26}, {"stride": -26}, {"stride": 1 << 50},
            {"stride": -(1 << 63)}, {"type": 3}, {"type": 0}, {"channels": 4}, {"channels": 0}, {"order": 2}, {"reserved": 1}, {"struct_size": 0},
            {"struct_size": 1 << 40}, {"type": 2}, {"channels": 1, "width": 27},
        ):  # fmt: skip
            refused(USAGE, None, call, wrong)
        for wrong in ({"height": 17}, {"width": 19}, {"type": 4}, {"channels": 1}, {"pixels": None}):
            refused(USAGE, None, call, {}, wrong)
        for wrong in (
            {"tile_height": 10}, {"tile_width": -5, "tile_height": 5}, {"halo": -1, "has_halo": 1}, {"batch": -1}, {"batch": 5000},
            {"struct_size": 3}, {"tile_height": 1 << 40, "tile_width": 1 << 40},
        ):  # fmt: skip
            refused(USAGE, None, call, **wrong)
        refused(USAGE, "aligned", call, {"pixels": lr.ctypes.data + 1, "type": 2, "width": 4})
        assert model.c.gpsr_upscale(model.handle, None, None, None) == USAGE
        assert model.c.gpsr_get_spec(model.handle, None) == USAGE
        assert model.c.gpsr_get_cut(model.handle, 9, 9, None, None) == USAGE
        call()
        assert model.c.gpsr_error(model.handle) == b""


def test_structures_may_be_shorter_or_longer_than_ours(library, doubling):
    lr, sr = np.arange(27, dtype=np.uint8).reshape(3, 3, 3), np.zeros((6, 6, 3), np.uint8)

    class Longer(ctypes.Structure):
        _fields_ = [("known", RunOptions), ("later", ctypes.c_int64)]

    with library.open(doubling) as model:
        for later, status in ((0, OK), (1, USAGE)):
            longer = Longer(known=RunOptions(struct_size=ctypes.sizeof(Longer)), later=later)
            assert (
                model.c.gpsr_upscale(
                    model.handle, ctypes.byref(picture(lr)), ctypes.byref(picture(sr)), ctypes.byref(longer)
                )
                == status
            )
        shorter = RunOptions(struct_size=ctypes.sizeof(ctypes.c_size_t), tile_height=-77)
        assert (
            model.c.gpsr_upscale(
                model.handle, ctypes.byref(picture(lr)), ctypes.byref(picture(sr)), ctypes.byref(shorter)
            )
            == OK
        )
        np.testing.assert_array_equal(sr, doubled(lr))
        spec = Spec(struct_size=Spec.scale.offset, scale=-1)
        assert model.c.gpsr_get_spec(model.handle, ctypes.byref(spec)) == OK
        assert spec.name == b"double"
        assert spec.scale == -1


def test_handles_may_be_null_and_errors_stand_until_the_next_call(library, doubling, tmp_path):
    c, handle = library.c, ctypes.c_void_p()
    c.gpsr_close(None)
    assert c.gpsr_error(None) == b""
    assert c.gpsr_open(os.fsencode(doubling), None, None) == USAGE
    assert c.gpsr_upscale(None, None, None, None) == USAGE
    assert c.gpsr_open(None, None, ctypes.byref(handle)) == USAGE
    assert b"no path" in c.gpsr_error(handle)
    c.gpsr_close(handle)
    assert c.gpsr_open(os.fsencode(tmp_path / "none.onnx"), None, ctypes.byref(handle)) == UNREADABLE
    assert b"none.onnx: cannot be read (No such file or directory)" in c.gpsr_error(handle)
    assert c.gpsr_upscale(handle, None, None, None) == USAGE
    assert b"could not be opened" in c.gpsr_error(handle)
    c.gpsr_close(handle)


def test_files_that_are_no_models_are_refused(library, tmp_path, doubling):
    refused(REFUSED, "suffix", library.open, tmp_path)
    (tmp_path / "folder.onnx").mkdir()
    refused(UNREADABLE, "regular", library.open, tmp_path / "folder.onnx")
    os.mkfifo(tmp_path / "fifo.onnx")
    refused(UNREADABLE, "regular", library.open, tmp_path / "fifo.onnx")
    for name in ("x.pth", "x.PKL", "x.safetensors", "x", "x.onnx.txt", ".onnx"):
        refused(REFUSED, "pickle|suffix", library.open, tmp_path / name)
    for device in ("gpu", "cuda:", "cuda:-1", "cuda:1x", "", "cpu "):
        refused(USAGE, "device", library.open, doubling, device=device.encode())
    refused(REFUSED, "OpenVINO", library.open, doubling, device=b"cuda:0")
    refused(REFUSED, "enlarges 2 times.*scale 4", library.open, doubling, scale=4)
    for options in ({"threads": -1}, {"scale": 99}):
        refused(USAGE, None, library.open, doubling, **options)
    hostile = tmp_path / "a\x1b[2J\n.onnx"
    hostile.write_bytes(b"junk")
    assert r"a\x1b[2J\n.onnx" in refused(REFUSED, "no ONNX", library.open, hostile)


def test_what_only_the_runtime_finds_is_refused_with_its_words(library, tmp_path):
    path = tmp_path / "odd.onnx"
    path.write_bytes(tiny(between=[helper.make_node("Sqrt", ["lr", "lr", "lr"], ["y"])]).SerializeToString())
    refused(REFUSED, r"OpenVINO [0-9.]+ cannot run the model \(.+\)", library.open, path)


def test_a_model_whose_result_is_not_what_its_spec_says_is_refused(library, tmp_path, photo):
    path = tmp_path / "liar.onnx"
    path.write_bytes(tiny(spec=dataclasses.replace(DOUBLE, scale=4)).SerializeToString())
    with library.open(path) as model:
        for _ in range(2):
            refused(REFUSED, "another shape", model.upscale, photo)


# --- Engines: what is refused before any TensorRT ---


def engine_without_runtime(library, path, **options):
    """Opens an engine in a library that may have no TensorRT: the line of its refusal."""
    with pytest.raises(Refused) as caught:
        library.open(path, **options)
    return caught.value


def test_a_sound_engine_is_refused_for_want_of_tensorrt_or_a_gpu_only(library, tmp_path):
    refusal = engine_without_runtime(library, plans.write(tmp_path))
    assert refusal.status == REFUSED
    tensorrt = "tensorrt" in library.c.gpsr_runtimes().decode()
    assert ("no CUDA device" if tensorrt else "built without TensorRT") in refusal.line
    assert ".onnx" in refusal.line


def test_damaged_engines_are_refused_as_in_python(library, tmp_path):
    content = plans.plan()
    flipped = bytes([*content[:-1], content[-1] ^ 1])
    body = plans.spec_of(content).to_json().encode()

    def written(name, plan, sidecar):
        path = tmp_path / f"{name}.plan"
        path.write_bytes(plan)
        if sidecar is not None:
            (tmp_path / f"{name}.plan.json").write_bytes(sidecar)
        return path

    def sidecar_for(plan, **changes):
        return plans.spec_of(plan, **changes).to_json().encode()

    foreign, short, empty = plans.plan(magic=b"ftrt"), content[:-5], content[:40]
    cases = [
        written("missing-sidecar", content, None), written("flipped", flipped, body), written("short", short, sidecar_for(short)),
        written("junk", b"junk" * 100, None), written("empty", empty, sidecar_for(empty)), written("other", content, sidecar_for(foreign)),
        written("foreign", foreign, sidecar_for(foreign)), written("no-json", content, b"{"), written("no-utf8", content, b"\xff"),
        written("large", content, body + b" " * 70_000), written("gpus", content, sidecar_for(content, compute_capabilities=("7.5",))),
        written("version", content, sidecar_for(content, runtime_version="1.8.0.0")), tmp_path / "none.plan",
    ]  # fmt: skip
    (tmp_path / "loop.plan").write_bytes(content)
    (tmp_path / "loop.plan.json").symlink_to("loop.plan.json")
    for path in [*cases, tmp_path / "loop.plan"]:
        with pytest.raises(GpsrError) as caught:
            engine_file.read(path)
        refusal = engine_without_runtime(library, path)
        assert refusal.status == caught.value.exit_code
        assert refusal.line.split(". ")[0] == str(caught.value).split(". ")[0].replace(
            "the sidecar is not UTF-8", "the spec is not UTF-8"
        )
    refusal = engine_without_runtime(library, plans.write(tmp_path), scale=8)
    assert "the engine enlarges 4 times" in refusal.line
    assert "on the CPU" in engine_without_runtime(library, plans.write(tmp_path), device=b"cpu").line


# --- Engines in TensorRT: its sources, over doubles of CUDA and TensorRT ---

WORDS = {"scale": "4", "min": "3x3", "opt": "48x60", "max": "96x120", "batch": "2"}


class Doubles(Library):
    """The library over doubles, which note what no document allows."""

    def __init__(self, path, flavour):
        super().__init__(path)
        self.flavour = flavour
        self.c.double_faults.restype = ctypes.c_char_p
        self.c.double_leftovers.restype = ctypes.c_longlong

    def engine(self, folder, *, spec=(), **words):
        """An engine whose plan tells the double what it is like."""
        body = " ".join(f"{key}={value}" for key, value in (WORDS | words).items()).encode()
        rtx = self.flavour == "tensorrt-rtx"
        content = plans.plan(body=body) if rtx else plans.plan(body=body, magic=b"ftrt")
        changes = {"runtime": self.flavour, "runtime_version": "1.7.1.116" if rtx else "11.1.0.106"} | dict(spec)
        return plans.write(folder, content, **changes)

    def require_clean(self):
        assert self.c.double_faults() == b""
        assert self.c.double_leftovers() == 0


@pytest.fixture(params=["tensorrt", "tensorrt-rtx"])
def doubles(built, request, monkeypatch):
    for name in list(os.environ):
        if name.startswith("GPSR_DOUBLE_"):
            monkeypatch.delenv(name)
    library = Doubles(built.folder / "lib" / f"libgpsr-doubles-{request.param}.so", request.param)
    yield library
    library.require_clean()


def quadrupled(lr):
    return lr.repeat(4, axis=0).repeat(4, axis=1)


def test_an_engine_enlarges_in_batches_of_tiles(doubles, tmp_path, photo):
    told = []
    note = PROGRESS(lambda _user, done, total: told.append((done, total)) and 0 or 0)
    with doubles.open(doubles.engine(tmp_path)) as model:
        assert (model.spec.runtime.decode(), model.spec.device) == (doubles.flavour, b"cuda:0")
        assert (model.spec.has_profile, model.spec.opt_height, model.spec.max_width, model.spec.batch) == (
            1,
            48,
            120,
            2,
        )
        for lr in (photo[:100, :100], photo[:100, :100, 0], photo[:1, :1], photo[:60, :73].astype(np.float32) / 255):
            lr = np.ascontiguousarray(lr)
            np.testing.assert_array_equal(model.upscale(lr, has_halo=1), quadrupled(lr))
        model.upscale(np.ascontiguousarray(photo[:144, :60]), has_halo=1, progress=note)
        assert told == [(0, 3), (2, 3), (3, 3)]
        refused(REFUSED, "a tile of 99x120", model.upscale, photo, tile_height=99, tile_width=120)
        np.testing.assert_array_equal(
            model.upscale(photo[:96, :96].copy(), tile_height=96, tile_width=96), quadrupled(photo[:96, :96])
        )


@pytest.mark.parametrize(
    ("memory", "works"), [(50_000_000, True), (12_000_000, True), (1_000_000, True), (200_000, False)]
)
def test_without_memory_on_the_gpu_batches_then_tiles_are_halved(doubles, tmp_path, photo, monkeypatch, memory, works):
    monkeypatch.setenv("GPSR_DOUBLE_MEMORY", str(memory))
    spec = {"sr": dataclasses.replace(plans.SR, halo=0)}
    with doubles.open(doubles.engine(tmp_path, spec=spec)) as model:
        for _ in range(2):
            if works:
                np.testing.assert_array_equal(model.upscale(photo), quadrupled(photo))
            else:
                refused(OUT_OF_MEMORY, "no memory for a tile", model.upscale, photo)


def test_batches_are_halved_before_tiles(doubles, tmp_path, photo, monkeypatch):
    """And what a larger batch had taken is free again: there is memory for one tile of 48x60, and little more."""
    told = []
    note = PROGRESS(lambda _user, done, total: told.append((done, total)) and 0 or 0)
    monkeypatch.setenv("GPSR_DOUBLE_MEMORY", "1460000")
    with doubles.open(doubles.engine(tmp_path)) as model:
        np.testing.assert_array_equal(model.upscale(photo, has_halo=1, progress=note), quadrupled(photo))
    assert told == [(0, 30), *((done, 30) for done in range(31))]


@pytest.mark.parametrize("words", [
    *({"refuses": call} for call in ("deserializeCudaEngine", "createExecutionContext", "setInputShape", "inferShapes")),
    {"scale": "2"}, {"batch": "3"}, {"opt": "51x60"}, {"max": "96x123"}, {"min": "6x3"}, {"type": "half"}, {"tensors": "3"},
    {"shape": "wrong"},
], ids=lambda words: "-".join(next(iter(words.items()))))  # fmt: skip
def test_an_engine_that_is_not_what_its_sidecar_says_is_refused(doubles, tmp_path, words):
    refused(REFUSED, "engine", doubles.open, doubles.engine(tmp_path, **words))


@pytest.mark.parametrize("call", ["setTensorAddress", "enqueueV3"])
def test_an_engine_that_fails_to_run_is_refused_with_its_words(doubles, tmp_path, photo, call):
    with doubles.open(doubles.engine(tmp_path, refuses=call)) as model:
        for _ in range(2):
            refused(REFUSED, "engine", model.upscale, photo, has_halo=1)


def test_a_thread_that_used_another_gpu_comes_back_to_the_engines(doubles, tmp_path, photo):
    with doubles.open(doubles.engine(tmp_path)) as model:
        for lr in (photo[:48, :60], photo[:90, :60]):
            doubles.c.double_select(7)
            np.testing.assert_array_equal(model.upscale(lr.copy(), has_halo=1), quadrupled(lr))
        doubles.c.double_select(7)


def test_failures_short_of_memory_are_a_lack_of_memory(doubles, tmp_path, monkeypatch):
    monkeypatch.setenv("GPSR_DOUBLE_MEMORY", str(1 << 20))
    refused(OUT_OF_MEMORY, "cannot be loaded", doubles.open, doubles.engine(tmp_path, refuses="deserializeCudaEngine"))


def test_nan_and_broken_kernels_are_found(doubles, tmp_path, photo, monkeypatch):
    with doubles.open(doubles.engine(tmp_path, result="nan")) as model:
        refused(REFUSED, "NaN or infinity in the tile at row 0, column 0", model.upscale, photo, has_halo=1)
    with doubles.open(doubles.engine(tmp_path)) as model:
        monkeypatch.setenv("GPSR_DOUBLE_LAUNCH", "719")
        refused(REFUSED, "cudaErrorLaunchFailure", model.upscale, photo, has_halo=1)


@pytest.mark.parametrize(("setting", "match"), [
    ({"STATUS": 35, "DEVICES": 0}, r"no CUDA device.*\.onnx"), ({"STATUS": 100}, r"no CUDA device.*\.onnx"),
    ({"DEVICES": 0}, "no CUDA device"), ({"STATUS": 3}, r"CUDA failed.*\.onnx"), ({"LIBRARY": 10_800}, "found the library 1.8.0.116"),
    ({"CAPABILITY": 90}, "Expected 9.0, which is this GPU's.*--runtime tensorrt --gpu 9.0"),
    ({"CAPABILITY": 75}, "Expected 7.5.*--gpu 7.5"), ({"NO_RUNTIME": 1}, "does not start"),
], ids=["no driver", "no device", "none", "broken", "library", "no RTX GPU", "another GPU", "no runtime"])  # fmt: skip
def test_a_machine_that_cannot_run_the_engine_is_told_so(doubles, tmp_path, monkeypatch, setting, match):
    for name, number in setting.items():
        monkeypatch.setenv(f"GPSR_DOUBLE_{name}", str(number))
    refused(REFUSED, match, doubles.open, doubles.engine(tmp_path))


def test_engines_of_another_release_flavour_or_gpu_are_refused_before_they_are_loaded(doubles, tmp_path):
    other = "tensorrt" if doubles.flavour == "tensorrt-rtx" else "tensorrt-rtx"
    content = plans.plan() if other == "tensorrt-rtx" else plans.plan(magic=b"ftrt")
    line = refused(REFUSED, "was built by", doubles.open, plans.write(tmp_path, content, runtime=other))
    assert f"was built by {other}" in line
    assert f"Expected {doubles.flavour} " in line
    assert "Try: gpsr-trt build gpsr_nano_x4.onnx" in line
    if doubles.flavour == "tensorrt":
        engine = doubles.engine(tmp_path, spec={"runtime_version": "11.2.0.1"})
        refused(REFUSED, "11.2.0.1.*Expected tensorrt 11.1.0.116", doubles.open, engine)
    refused(REFUSED, "no GPU 1", doubles.open, doubles.engine(tmp_path), device=b"cuda:1")


# --- TensorRT itself, where its headers are ---


def test_tensorrt_is_built_in_where_its_headers_are_and_else_said_to_be_missing(built, library, tmp_path):
    """On a machine without a GPU a real engine gets as far as the error that says so."""
    if "TensorRT: NvInfer.h and its library not found" in built.said:
        assert library.c.gpsr_runtimes() == b"openvino"
        return
    assert "tensorrt" in library.c.gpsr_runtimes().decode()
    plan, spec = plans.real()
    path = plans.write(tmp_path, plan, **{field.name: getattr(spec, field.name) for field in dataclasses.fields(spec)})
    refused(REFUSED, "no CUDA device", library.open, path)


# --- The programs ---


def netpbm(pixels):
    """A PPM or PGM file."""
    height, width = pixels.shape[:2]
    kind, peak = ("P6" if pixels.ndim == 3 else "P5"), np.iinfo(pixels.dtype).max
    return (
        f"{kind}\n# a comment\n{width} {height}\n{peak}\n".encode()
        + pixels.astype(pixels.dtype.newbyteorder(">")).tobytes()
    )


def program(built, *words, name="gpsr-cpp", **options):
    return subprocess.run([built.program(name), *words], capture_output=True, check=False, **options)


def failed(built, code, match, *words, **options):
    """A run of gpsr-cpp that ends with `code` and one line that matches."""
    ended = program(built, *words, **options)
    assert ended.returncode == code, ended.stderr
    line = ended.stderr.decode()
    assert re.fullmatch(rf"error\[{code}\] [^\n]*{match}[^\n]*\n", line), line
    return line


def formats(built):
    return [".ppm"] if "libpng: not found" in built.said else [".ppm", ".png"]


@pytest.mark.parametrize("lr", ["rgb", "grey", "rgb16", "grey16"])
def test_the_program_makes_the_pixels_of_gpsr_trt_in_every_format(built, doubling, photo, photo_16, tmp_path, lr):
    lr = {"rgb": photo[:60, :71], "grey": photo[:60, :71, 0], "rgb16": photo_16, "grey16": photo_16[:, :, 0]}[lr]
    for suffix in formats(built):
        source, target = tmp_path / f"in{suffix}", tmp_path / f"out{suffix}"
        if suffix == ".png":
            images.write(source, images.Picture(pixels=lr), overwrite=True)
        else:
            source.write_bytes(netpbm(lr))
        ended = program(built, "--engine", doubling, source, target)
        assert ended.returncode == 0, ended.stderr
        assert b"1 tiles" in ended.stderr
        if suffix == ".png":
            np.testing.assert_array_equal(images.read(target).pixels, doubled(lr))
        else:
            assert target.read_bytes() == netpbm(doubled(lr)).replace(b"# a comment\n", b"")


def test_the_program_runs_the_model_that_ships_where_none_is_named(built, photo, tmp_path):
    lr = photo[:33, :40]
    (tmp_path / "in.ppm").write_bytes(netpbm(lr))
    for scale, words in ((4, []), (8, ["-s", "8"])):
        ended = program(built, "-q", "--threads", "1", *words, tmp_path / "in.ppm", tmp_path / f"{scale}.ppm")
        assert (ended.returncode, ended.stderr) == (0, b"")
        with OpenVinoBackend(onnx_file.read(models.shipped(scale)), threads=1) as backend:
            expected = upscale.upscale(backend, lr).sr
        pixels = np.frombuffer((tmp_path / f"{scale}.ppm").read_bytes()[-expected.size :], np.uint8).reshape(
            expected.shape
        )
        require_equal_pixels(pixels, expected)


def test_the_program_refuses_what_gpsr_trt_refuses_by_the_same_codes(built, doubling, photo, tmp_path):
    good, out = tmp_path / "in.ppm", tmp_path / "out.ppm"
    good.write_bytes(content := netpbm(photo[:20, :20]))
    (tmp_path / "folder.ppm").mkdir()
    (tmp_path / "cut.ppm").write_bytes(content[:-1])
    (tmp_path / "bomb.ppm").write_bytes(b"P6 2147483647 2147483647 255\n")
    (tmp_path / "bomb2.ppm").write_bytes(b"P6 20000 20000 255\n")
    (tmp_path / "depth.ppm").write_bytes(b"P6 1 1 1023\n" + bytes(6))
    (tmp_path / "junk.ppm").write_bytes(b"<svg/>")
    (tmp_path / "none.ppm").write_bytes(b"")
    engine = ["--engine", doubling]
    for words in ([], [good], [good, out, out], ["--what", good, out], ["-t", "x", good, out], ["-t", "0", good, out],
                  ["--threads", "-1", good, out], ["--engine"], ["-t", "9x9x9", good, out]):  # fmt: skip
        failed(built, USAGE, "Try: gpsr-cpp --help", *words)
    failed(
        built, USAGE, "the output is the input", *engine, good, tmp_path / "folder.ppm" / ".." / "in.ppm", "--overwrite"
    )
    failed(built, USAGE, "device", *engine, "--device", "tpu", good, out)
    for name in ("missing", "folder", "cut", "bomb", "bomb2", "depth", "junk", "none"):
        begin = time.perf_counter()
        failed(built, UNREADABLE, f"{name}.ppm: .*", *engine, tmp_path / f"{name}.ppm", out)
        assert time.perf_counter() - begin < 2
    failed(built, UNWRITABLE, "no-folder", *engine, good, tmp_path / "no-folder" / "x.ppm")
    failed(built, UNWRITABLE, "format", *engine, good, tmp_path / "out.webp")
    failed(built, UNWRITABLE, "Is a directory", *engine, "--overwrite", good, tmp_path / "folder.ppm")
    failed(built, UNREADABLE, "No such file", "--engine", tmp_path / "none.onnx", good, out)
    failed(built, REFUSED, "enlarges 2 times", *engine, "-s", "4", good, out)
    failed(built, UNREADABLE, r"a\\x1b\[2J\\x0a.ppm", *engine, tmp_path / "a\x1b[2J\n.ppm", out)
    out.write_bytes(b"precious")
    failed(built, UNWRITABLE, "Try: --overwrite", *engine, good, out)
    assert out.read_bytes() == b"precious"
    assert program(built, *engine, "--overwrite", good, out).returncode == 0
    assert out.read_bytes()[:2] == b"P6"
    assert program(built, "--help").stdout.startswith(b"usage: gpsr-cpp")
    assert {path.name for path in tmp_path.iterdir() if path.name.startswith(".")} == set()


def test_png_that_is_damaged_or_has_alpha_is_refused(built, doubling, photo, tmp_path):
    if ".png" not in formats(built):
        return
    source = tmp_path / "in.png"
    images.write(source, images.Picture(pixels=photo[:40, :40]))
    content = source.read_bytes()
    for name, damaged in {
        "cut": content[: len(content) // 2], "head": content[:20], "flipped": content[:200] + bytes([content[200] ^ 4]) + content[201:],
        "bomb": content[:16] + (20_000).to_bytes(4) * 2 + content[24:], "tail": content[:-5],
    }.items():  # fmt: skip
        (tmp_path / f"{name}.png").write_bytes(damaged)
        failed(built, UNREADABLE, f"{name}.png", "--engine", doubling, tmp_path / f"{name}.png", tmp_path / "out.png")
    images.write(tmp_path / "alpha.png", images.Picture(pixels=photo[:9, :9], alpha=photo[:9, :9, 0].copy()))
    failed(
        built, UNREADABLE, "alpha.*gpsr-trt infer", "--engine", doubling, tmp_path / "alpha.png", tmp_path / "out.png"
    )
    assert not (tmp_path / "out.png").exists()


def test_a_full_disk_leaves_the_old_file(built, doubling, photo, tmp_path):
    (tmp_path / "in.ppm").write_bytes(netpbm(photo[:60, :60]))
    (tmp_path / "out.ppm").write_bytes(b"precious")
    limit = "import os, resource, signal, sys; signal.signal(signal.SIGXFSZ, signal.SIG_IGN); resource.setrlimit(resource.RLIMIT_FSIZE, (9000, 9000)); os.execv(sys.argv[1], sys.argv[1:])"
    words = [built.program("gpsr-cpp"), "--engine", doubling, "--overwrite", tmp_path / "in.ppm", tmp_path / "out.ppm"]
    ended = subprocess.run([sys.executable, "-c", limit, *words], capture_output=True, check=False)
    assert ended.returncode == UNWRITABLE, ended.stderr
    assert b"File too large" in ended.stderr
    assert (tmp_path / "out.ppm").read_bytes() == b"precious"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.ppm", "out.ppm"]


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_signals_end_the_program_soon_and_leave_nothing(built, photo, tmp_path, number, code):
    (tmp_path / "in.ppm").write_bytes(netpbm(np.tile(photo, (4, 4, 1))))
    words = [built.program("gpsr-cpp"), "--threads", "1", "-t", "96", tmp_path / "in.ppm", tmp_path / "out.ppm"]
    with subprocess.Popen(words, stderr=subprocess.PIPE) as running:
        time.sleep(1.5)
        begin = time.perf_counter()
        running.send_signal(number)
        assert running.wait() == code
        assert time.perf_counter() - begin < 4
        assert running.stderr.read() == b""
    assert [path.name for path in tmp_path.iterdir()] == ["in.ppm"]


def test_frames_go_through_one_after_the_other(built, doubling, photo):
    frames = [np.ascontiguousarray(photo[top : top + 30, :40]) for top in range(0, 200, 25)]
    sent = b"".join(frame.tobytes() for frame in frames)
    ended = program(built, doubling, "30x40", name="gpsr-frames", input=sent)
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout == b"".join(doubled(frame).tobytes() for frame in frames)
    for words, input, code in (
        ([doubling, "30x40"], sent[:-1], UNREADABLE), ([doubling, "30x40"], b"", OK), ([doubling, "30"], b"", USAGE), ([], b"", USAGE),
        ([doubling, "30x40x3"], b"", USAGE), (["none.onnx", "30x40"], b"", UNREADABLE),
    ):  # fmt: skip
        ended = program(built, *words, name="gpsr-frames", input=input)
        assert ended.returncode == code
        assert ended.stderr.startswith(b"error[%d] " % code) == (code != OK)
    assert len((SOURCE / "examples" / "gpsr_frames.cpp").read_text().splitlines()) <= 60


def test_a_reader_that_dies_ends_the_frames(built, doubling, photo):
    words = [built.program("gpsr-frames"), doubling, "60x60"]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as running:
        running.stdout.close()
        with pytest.raises(BrokenPipeError):
            for _ in range(1000):
                running.stdin.write(photo[:60, :60].tobytes())
                running.stdin.flush()
        assert running.wait() == UNWRITABLE
        assert running.stderr.read().startswith(b"error[4] stdout")


# --- Installed ---

CONSUMER = """
cmake_minimum_required(VERSION 3.20)
project(consumer LANGUAGES C CXX)
find_package(gpsr 0.1 REQUIRED)
add_executable(consumer consumer.cpp)
target_link_libraries(consumer PRIVATE gpsr::gpsr)
set_target_properties(consumer PROPERTIES CXX_STANDARD 17)
"""

CONSUMER_CPP = """
#include <cstdio>
#include <gpsr/gpsr.hpp>

int main(int, char** words) {
    try {
        gpsr::Model model(words[1], {"cpu", 2, 1});
        std::uint8_t lr[] = {1, 2, 3, 250, 251, 252}, sr[24];
        try {
            model.upscale(gpsr::picture(lr, 1, 2), gpsr::picture(sr, 2, 4), {}, [](auto, auto) -> bool { throw 7; });
        } catch (int thrown) {
            std::printf("%d ", thrown);
        }
        model.upscale(gpsr::picture<const std::uint8_t>(lr, 1, 2), gpsr::picture(sr, 2, 4, 3, GPSR_BGR));
        for (const int sample : sr) {
            std::printf("%d ", sample);
        }
        model.upscale(gpsr::picture(lr, 1, 2), gpsr::picture(sr, 2, 2));
    } catch (const gpsr::Error& error) {
        std::printf("%d %s", static_cast<int>(error.code()), error.what());
    }
}
"""


def unhelped():
    """An environment that does not say where libraries lie."""
    return {name: value for name, value in os.environ.items() if name != "LD_LIBRARY_PATH"}


@pytest.fixture(scope="module")
def installed(built, tmp_path_factory):
    prefix = tmp_path_factory.mktemp("installed")
    run(CMAKE, "--install", built.folder, "--prefix", prefix)
    return prefix


def test_a_program_finds_the_installed_library(installed, doubling, tmp_path):
    (tmp_path / "CMakeLists.txt").write_text(CONSUMER)
    (tmp_path / "consumer.cpp").write_text(CONSUMER_CPP)
    run(CMAKE, "-S", tmp_path, "-B", tmp_path / "build", f"-DCMAKE_PREFIX_PATH={installed}")
    run(CMAKE, "--build", tmp_path / "build")
    said = run(tmp_path / "build" / "consumer", doubling, env=unhelped())
    row = "3 2 1 3 2 1 252 251 250 252 251 250 "
    assert (
        said
        == "7 "
        + row
        + row
        + "2 error[2] sr is 2x2 with 3 channels of 1 bytes. Expected 2x4, and lr's channels and type."
    )


def test_the_installed_program_finds_the_library_the_runtime_and_the_models(installed, photo, tmp_path):
    (tmp_path / "in.ppm").write_bytes(netpbm(photo[:9, :9]))
    ended = subprocess.run(
        [installed / "bin" / "gpsr-cpp", tmp_path / "in.ppm", tmp_path / "out.ppm"],
        env=unhelped(),
        capture_output=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    assert b"36x36" in ended.stderr


# --- Slow: with sanitizers, and as the document says ---


@pytest.mark.slow
def test_all_of_this_is_clean_under_sanitizers(tmp_path):
    """Address, leak and undefined behaviour: the library inside Python, and the programs by themselves."""
    built = configured(
        tmp_path,
        "-DGPSR_TESTS=ON",
        "-DCMAKE_INSTALL_LIBDIR=lib",
        "-DGPSR_SANITIZE=address,undefined",
        "-DCMAKE_CXX_FLAGS_RELEASE=-O1",
    )
    preloaded = [
        built.folder / "lib" / "libgpsr-no-deepbind.so",
        *(run(COMPILER, f"-print-file-name=lib{name}.so").strip() for name in ("asan", "ubsan")),
    ]
    environment = os.environ | {
        "LD_PRELOAD": " ".join(map(str, preloaded)),
        "ASAN_OPTIONS": "detect_leaks=0:verify_asan_link_order=0",  # Python's own leaks are not ours
        "GPSR_CPP_BUILD": str(built.folder),
    }
    fast = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", __file__]
    ended = subprocess.run(fast, env=environment, cwd=ROOT, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stdout[-5000:] + ended.stderr[-5000:]
    assert "[100%]" in ended.stdout

    leaks = os.environ | {"LD_PRELOAD": str(preloaded[0]), "ASAN_OPTIONS": "detect_leaks=1:verify_asan_link_order=0"}
    lr, double, engine = tmp_path / "lr.ppm", tmp_path / "double.onnx", plans.write(tmp_path)
    lr.write_bytes(netpbm(np.zeros((70, 90, 3), np.uint8)))
    double.write_bytes(tiny().SerializeToString())
    for model, code in (
        (models.shipped(4), OK),
        (double, OK),
        (engine, REFUSED),
        (lr, REFUSED),
        (tmp_path / "none.onnx", UNREADABLE),
    ):
        ended = program(built, "--overwrite", "-t", "75", "--engine", model, lr, tmp_path / "sr.ppm", env=leaks)
        assert ended.returncode == code, ended.stderr.decode()
    for part, cases in (("sidecar", mutants(1000, seed=7)), ("onnx", list(mutated_models(1000, seed=7)))):
        sent = b"".join(len(case).to_bytes(8, "little") + case for case in cases)
        ended = program(built, part, name="gpsr-probe", input=sent, env=leaks)
        assert (ended.returncode, ended.stderr) == (0, b"")
        assert ended.stdout.count(b"\n") == 1000


def blocks(language):
    """The code of docs/embedding.md in one language."""
    return re.findall(
        rf"```{language}\n(.*?)```", (ROOT / "docs" / "embedding.md").read_text(encoding="utf-8"), re.DOTALL
    )


@pytest.mark.slow
def test_embedding_md_runs_as_written(tmp_path, photo):
    """Its commands, built as users build, and its programs in CMake, C++ and C."""
    for name in ("embed", "gpsr_deploy"):
        (tmp_path / name).symlink_to(ROOT / name)
    photo = np.ascontiguousarray(photo[:60, :80])
    images.write(tmp_path / "photo.png", images.Picture(pixels=photo))
    (tmp_path / "frames.rgb").write_bytes(np.zeros((2, 270, 480, 3), np.uint8).tobytes())
    environment = os.environ | {"PATH": f"{BIN}:{os.environ['PATH']}"}

    def typed(line):
        ended = subprocess.run(
            line, shell=True, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
        )
        assert ended.returncode == 0, f"{line}\n{ended.stdout}\n{ended.stderr}"

    shell, configure = blocks("sh")[:2], blocks("cmake")
    for line in (line for block in shell for line in block.splitlines()):
        typed(line)
    with OpenVinoBackend(onnx_file.read(models.shipped(4))) as backend:
        expected = upscale.upscale(backend, photo).sr
    require_equal_pixels(images.read(tmp_path / "large.png").pixels, expected)
    assert (tmp_path / "large.rgb").stat().st_size == 2 * 1080 * 1920 * 3

    (in_cpp,), (in_c,) = blocks("cpp"), blocks("c")
    project = tmp_path / "project"
    project.mkdir()
    (project / "main.cpp").write_text(in_cpp)
    (project / "main.c").write_text(in_c)
    for source in ("main.cpp", "main.c"):
        (project / "CMakeLists.txt").write_text(configure[0].replace("main.cpp", source))
        typed(f"cmake -S project -B built/{source} -DCMAKE_PREFIX_PATH=$PWD/installed && cmake --build built/{source}")
        model = ROOT / "gpsr_deploy" / "models" / "gpsr_nano_x4.onnx"
        sent = np.ascontiguousarray(photo[:40, :50])
        ended = subprocess.run(
            [tmp_path / "built" / source / "enlarge", model], input=sent.tobytes(), capture_output=True, check=False
        )
        assert ended.returncode == 0, ended.stderr
        with OpenVinoBackend(onnx_file.read(model)) as backend:
            require_equal_pixels(
                np.frombuffer(ended.stdout, np.uint8).reshape(160, 200, 3), upscale.upscale(backend, sent).sr
            )
