"""Engine files: a plan and a sidecar that belong together, or a refusal in plain words, without TensorRT or a GPU."""

import argparse
import dataclasses
import errno
import hashlib
import json
import os
import random
import re
import shlex
import subprocess
import sys
import threading

import plans
import pytest
from hypothesis import given
from hypothesis import strategies as st
from plans import GPUS, PROFILE

from gpsr_deploy import atomic, cli
from gpsr_deploy.cli import build as cli_build
from gpsr_deploy.cli import main
from gpsr_deploy.errors import MAX_SHOWN, GpsrError, InputUnreadable, ModelRefused, OutputUnwritable
from gpsr_deploy.model_files import engine as engine_file
from gpsr_deploy.spec import MAX_JSON_BYTES, Profile


@pytest.fixture
def engine(tmp_path):
    """An engine for GPUS, made by hand."""
    return plans.write(tmp_path)


def files(folder):
    return sorted(path.name for path in folder.iterdir())


def edit(path, **changes):
    """Another value for keys of a sidecar; `sr__scale=8` changes an inner one."""
    sidecar = engine_file.sidecar_path(path)
    found = json.loads(sidecar.read_text())
    for name, value in changes.items():
        *parents, last = name.split("__")
        place = found
        for parent in parents:
            place = place[parent]
        place[last] = value
    sidecar.write_text(json.dumps(found))


def refusal(path, *, code=5, words="."):
    """The error of reading the engine at `path`: one printable line about it, or about its sidecar."""
    with pytest.raises(GpsrError, match=words) as caught:
        engine_file.read(path)
    assert caught.value.exit_code == code
    assert str(caught.value).isprintable()
    assert caught.value.path in (path, engine_file.sidecar_path(path))
    return caught.value


# --- plan and sidecar ---


def test_an_engine_is_read_as_it_was_written(tmp_path):
    for number, parity in enumerate((None, plans.PARITY)):
        path = plans.write(tmp_path, name=f"{number}.plan", parity=parity)
        found = engine_file.read(path)
        assert (found.content, found.spec, found.path) == (
            plans.plan(),
            plans.spec_of(plans.plan(), parity=parity),
            path,
        )
    assert files(tmp_path) == ["0.plan", "0.plan.json", "1.plan", "1.plan.json"]


def test_a_header_tells_runtime_version_and_gpus():
    found = engine_file.header(plans.plan(("7.5", "12.1"), version=(1, 8, 0, 3)))
    assert found == engine_file.PlanHeader(
        runtime="tensorrt-rtx", version="1.8.0.3", compute_capabilities=("7.5", "12.1")
    )
    assert engine_file.header(plans.plan(engine_file.CAPABILITY_BITS.values())).compute_capabilities == (
        *("7.5", "8.0", "8.6", "8.9", "12.0", "12.1"),
    )
    found = engine_file.header(plans.plan(magic=b"ftrt"))
    assert (found.runtime, found.compute_capabilities) == ("tensorrt", ())


def test_a_plan_made_by_hand_has_the_header_of_a_real_one():
    content, spec = plans.real()
    assert engine_file.header(content) == engine_file.header(plans.plan())
    head = plans.plan(body=bytes(len(content) - engine_file.HEADER_BYTES))[: engine_file.HEADER_BYTES]
    told = [*range(0x1C), *range(0x20, 0x24)]
    assert [content[at] for at in told] == [head[at] for at in told]
    assert spec.compute_capabilities == GPUS


def test_a_plan_of_tensorrt_is_known_by_its_magic_and_its_checksum(tmp_path):
    content = plans.plan(magic=b"ftrt", version=(11, 4, 0, 1))
    path = plans.write(tmp_path, content, runtime="tensorrt", runtime_version="11.4.0.1", compute_capabilities=("9.0",))
    assert engine_file.read(path).spec.compute_capabilities == ("9.0",)
    path.write_bytes(content[:-1])
    refusal(path, words="SHA-256")


@pytest.mark.parametrize("magic", [b"vtrt", b"ftrt"])
def test_a_plan_cut_anywhere_is_refused_by_its_checksum(tmp_path, magic):
    content = plans.plan(magic=magic)
    path = plans.write(tmp_path, content, runtime="tensorrt" if magic == b"ftrt" else "tensorrt-rtx")
    for cut in range(len(content)):
        path.write_bytes(content[:cut])
        assert "fetch both files again" in refusal(path, words="SHA-256").remedy


def test_a_cut_header_is_no_plan_and_a_cut_plan_is_named():
    content = plans.plan()
    for cut in range(len(content)):
        with pytest.raises(ModelRefused, match="no TensorRT plan" if cut < 64 else f"has {cut} bytes. Expected 320"):
            engine_file.header(content[:cut])
    with pytest.raises(ModelRefused, match="has 321 bytes"):
        engine_file.header(content + b"\0")


def test_a_real_plan_cut_or_flipped_is_refused_by_its_checksum(tmp_path):
    content, spec = plans.real()
    path = tmp_path / "real.plan"
    engine_file.write(path, content, spec)
    assert engine_file.read(path).content == content
    chance = random.Random(0)
    for _ in range(200):
        at, bit = chance.randrange(len(content)), 1 << chance.randrange(8)
        with path.open("r+b") as file:
            file.seek(at)
            file.write(bytes([content[at] ^ bit]))
            file.flush()
            refusal(path, words="SHA-256")
            file.seek(at)
            file.write(content[at : at + 1])
    assert engine_file.read(path).content == content
    for cut in [0, 1, 4, 63, 64, 65, 4096, *chance.sample(range(len(content)), 10), len(content) - 1]:
        path.write_bytes(content[:cut])
        refusal(path, words="SHA-256")
    path.write_bytes(content + b"\0")
    refusal(path, words="SHA-256")


def test_a_header_that_was_flipped_before_the_checksum_gives_words_or_an_engine(tmp_path):
    """Who makes the sidecar to match can say anything; nothing else may come of it."""
    told = {*range(4), *range(0x10, 0x1B)}  # magic, size, and the three numbers of the release
    for bit in range(engine_file.HEADER_BYTES * 8):
        content = bytearray(plans.plan())
        content[bit // 8] ^= 1 << bit % 8
        path = plans.write(tmp_path, bytes(content))
        if bit // 8 in told or (bit // 8 == 0x20 and bit % 8 < 6):  # or a GPU
            refusal(path)
        else:
            assert engine_file.read(path).content == content


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"runtime": "tensorrt"}, r"header says tensorrt-rtx 1\.7\.1\.116 for 8\.6, 8\.9, 12\.0, its sidecar tensorrt 1"),
        ({"runtime_version": "1.7.2.116"}, r"header says tensorrt-rtx 1\.7\.1\.116 .* its sidecar tensorrt-rtx 1\.7\.2\.116"),
        ({"runtime_version": "1.8.1.116"}, "its sidecar tensorrt-rtx 1.8.1.116"),
        ({"runtime_version": "2.7.1.116"}, "its sidecar tensorrt-rtx 2.7.1.116"),
        ({"compute_capabilities": ["8.6", "8.9"]}, r"for 8\.6, 8\.9, 12\.0, its sidecar .* for 8\.6, 8\.9\."),
        ({"compute_capabilities": ["8.6", "8.9", "12.0", "12.1"]}, "its sidecar .* for 8.6, 8.9, 12.0, 12.1"),
        ({"compute_capabilities": ["9.0"]}, "for 9.0"),
        ({"plan_sha256": "00" * 32}, "SHA-256 .* Expected 0000000000000000"),
        ({"sr__scale": 3}, "scale = 3"),
        ({"sr__multiple_of": 5}, "halo"),
        ({"sr__name": "a\x1b[2J"}, "name"),
        ({"profile__min": [4, 4]}, "multiples of 3"),
        ({"profile__batch": 0}, "batch"),
        ({"costs__params": -1}, "costs"),
        ({"weights__fp32": 0.5}, "weights"),
        ({"onnx_sha256": "x"}, "onnx_sha256"),
        ({"parity": {}}, "sidecar's parity"),
        ({"extra": 1}, "holds"),
    ],
    ids=lambda value: "".join(value) if isinstance(value, dict) else None,
)  # fmt: skip
def test_an_edited_sidecar_is_refused_with_its_own_sentence(engine, change, words):
    edit(engine, **change)
    refusal(engine, words=words)


def test_another_build_of_the_same_release_is_the_same_release(engine):
    edit(engine, runtime_version="1.7.1.117")
    assert engine_file.read(engine).spec.runtime_version == "1.7.1.117"


def test_a_plan_that_turns_out_to_be_of_the_other_tensorrt_is_named_without_gpus(tmp_path):
    path = plans.write(tmp_path, plans.plan(magic=b"ftrt"))
    assert re.search(r"header says tensorrt [0-9.]+, its sidecar tensorrt-rtx", str(refusal(path)))


def test_a_sidecar_of_another_plan_is_refused(tmp_path):
    one, other = (plans.write(tmp_path, plans.plan(body=body), name=f"{body}.plan") for body in (b"1", b"2"))
    engine_file.sidecar_path(one).replace(engine_file.sidecar_path(other))
    refusal(other, words="not the one that its sidecar describes")
    assert "--trust-engine" in refusal(one, words="there is no .* beside the plan").remedy


def loop(sidecar):
    sidecar.symlink_to(sidecar.name)


@pytest.mark.parametrize(
    ("make", "code"),
    [
        (lambda sidecar: sidecar.mkdir(), 3),
        (os.mkfifo, 3),
        (loop, 3),
        (lambda sidecar: sidecar.symlink_to("nowhere"), 3),
        (lambda sidecar: sidecar.symlink_to("/dev/zero"), 3),
        (lambda sidecar: sidecar.write_bytes(b""), 5),
        (lambda sidecar: sidecar.write_bytes(b"\xff\xfe{}"), 5),
        (lambda sidecar: sidecar.write_bytes(b"\xef\xbb\xbf{}"), 5),
        (lambda sidecar: sidecar.write_bytes(b"{}"), 5),
        (lambda sidecar: sidecar.write_bytes(b"[" * MAX_JSON_BYTES), 5),
        (lambda sidecar: sidecar.write_bytes(b" " * (MAX_JSON_BYTES + 1)), 5),
        (lambda sidecar: sidecar.write_bytes(b'{"\x1b[2J</script>": 1}'), 5),
        (lambda sidecar: sidecar.write_bytes(plans.plan()), 5),
    ],
    ids=["folder", "fifo", "loop", "dangling", "device", "empty", "utf-16", "bom", "object", "deep", "large", "ansi", "plan"],
)  # fmt: skip
def test_a_sidecar_that_is_none_is_refused_by_its_name(engine, make, code):
    sidecar = engine_file.sidecar_path(engine)
    sidecar.unlink()
    make(sidecar)
    assert refusal(engine, code=code).path == sidecar
    assert main(["inspect", str(engine)]) == code


@pytest.mark.parametrize("make", [lambda path: None, lambda path: path.mkdir(), os.mkfifo, loop], ids=["none", "folder", "fifo", "loop"])  # fmt: skip
def test_a_plan_that_cannot_be_read_is_3(engine, make):
    engine.unlink()
    make(engine)
    refusal(engine, code=3)
    with pytest.raises(InputUnreadable):
        engine_file.read_foreign(engine)


def test_a_name_that_leaves_no_room_for_a_sidecars_has_none(tmp_path, capsys):
    path = tmp_path / f"{'n' * 246}.plan"
    path.write_bytes(plans.plan())
    assert not engine_file.has_sidecar(path)
    refusal(path, words="there is no")
    assert main(["inspect", str(path), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["sidecar"] is None


# --- what is no plan ---


def wrapped(header, content=None):
    return len(header).to_bytes(4, "little") + header + (plans.plan() if content is None else content)


def test_a_json_header_before_a_plan_is_named():
    header = json.dumps({"description": "model", "names": {0: "x"}}).encode()
    for content in (wrapped(header), wrapped(header, plans.plan(magic=b"ftrt"))):
        with pytest.raises(ModelRefused, match=f"but one begins at byte {len(header) + 4}, after a JSON header"):
            engine_file.header(content)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"vtrt",
        b"TRTv" + bytes(100),
        bytes(1000),
        b"PK\3\4" + bytes(100),
        b"\x08\x08\x12\x07pytorch" + bytes(100),
        wrapped(b"{" * 1000),
        wrapped(b"{broken}"),
        wrapped(b'{"a":' * 100_000),
        wrapped(b'{"a": ' + b"9" * 5000 + b"}"),
        wrapped(b'{"\xff": 1}'),
        wrapped(b"{}", b"something else" * 10),
        b"\xff\xff\xff\xff{}" + plans.plan(),
    ],
    ids=lambda content: f"{len(content)}:{content[:8]!r}",
)
def test_what_is_no_plan_is_refused_and_told_how_to_make_one(tmp_path, content):
    with pytest.raises(ModelRefused, match="no TensorRT plan.*begins with ftrt") as caught:
        engine_file.header(content)
    assert "but one begins" not in str(caught.value)
    (tmp_path / "x.plan").write_bytes(content)
    assert main(["inspect", str(tmp_path / "x.plan")]) == 5


@given(st.binary(max_size=200) | st.binary(max_size=100).map(lambda rest: b"vtrt" + rest))
def test_arbitrary_bytes_give_a_header_or_a_refusal(content):
    try:
        assert engine_file.header(content).runtime in ("tensorrt", "tensorrt-rtx")
    except ModelRefused as error:
        assert str(error).isprintable()


# --- here ---


def command_of(error):
    """The `gpsr-trt build` in a remedy, parsed; it has to be whole in the line that users see."""
    command = re.search(r"gpsr-trt (build .+)$", error.remedy)[1]
    assert f"{command}." in str(error)
    return cli.parser().parse_args(shlex.split(command))


def require(spec, **here):
    """The refusal of an engine that is for `spec` where the machine or the request is another."""
    asked = {"version": spec.runtime_version, "compute_capability": spec.compute_capabilities[0]} | here
    scale = asked.pop("scale", None)
    with pytest.raises(ModelRefused) as caught:
        engine_file.require_scale(spec, scale)
        engine_file.require_runnable(spec, **asked)
    assert str(caught.value).isprintable()
    options = command_of(caught.value)
    assert cli_build.profile_of(options, spec.sr.multiple_of) == spec.profile
    if scale is None:
        assert asked["compute_capability"] in options.gpu
    return caught.value, options


SPEC = plans.spec_of(plans.plan())


def test_an_engine_for_this_machine_is_accepted():
    for gpu in GPUS:
        engine_file.require_runnable(SPEC, version="1.7.1.116", compute_capability=gpu)
    for scale in (None, 4):
        engine_file.require_scale(SPEC, scale)
    engine_file.require_runnable(SPEC, version="1.7.1.99", compute_capability="8.9")


def test_another_scale_is_refused_with_both_and_the_commands():
    with pytest.raises(ModelRefused) as caught:
        engine_file.require_scale(SPEC, 8)
    assert "enlarges 4 times. Expected one for -s 8" in str(caught.value)
    assert caught.value.remedy.startswith("-s 4, or ")
    options = command_of(caught.value)
    assert "x8" in options.model.name
    assert options.gpu == SPEC.compute_capabilities


@pytest.mark.parametrize("version", ["1.7.2.116", "1.8.1.116", "2.7.1.116", "11.4.0.1"])
def test_another_release_is_refused_with_both_and_the_command(version):
    error, options = require(SPEC, version=version)
    assert "built by tensorrt-rtx 1.7.1.116. Expected " + version in str(error)
    assert (options.runtime, options.gpu) == ("tensorrt-rtx", GPUS)


def test_another_release_on_another_gpu_is_rebuilt_for_that_gpu():
    """The command for the GPUs it was for would end in the next refusal."""
    _, options = require(SPEC, version="1.8.0.1", compute_capability="7.5")
    assert options.gpu == ("7.5",)


@pytest.mark.parametrize("gpu", ["7.5", "8.0", "12.1"])
def test_another_gpu_is_refused_with_both_and_the_command(gpu):
    error, options = require(SPEC, compute_capability=gpu)
    assert f"for GPUs of compute capability 8.6, 8.9, 12.0. Expected {gpu}, which is this GPU's" in str(error)
    assert (options.runtime, options.gpu) == ("tensorrt-rtx", (gpu,))


@pytest.mark.parametrize("gpu", ["8.7", "9.0", "10.0", "7.0"])
def test_a_gpu_that_tensorrt_rtx_does_not_build_for_is_sent_to_tensorrt(gpu):
    _, options = require(SPEC, compute_capability=gpu)
    assert (options.runtime, options.gpu) == ("tensorrt", (gpu,))


def test_an_engine_of_tensorrt_is_rebuilt_by_tensorrt_on_the_gpu_here():
    spec = dataclasses.replace(
        SPEC, runtime="tensorrt", runtime_version="11.4.0.1", compute_capabilities=("8.9",)
    )  # fmt: skip
    for here in ({"compute_capability": "9.0"}, {"version": "10.12.0.36"}, {"scale": 8}):
        _, options = require(spec, **here)
        assert options.runtime == "tensorrt"
        assert here == {"scale": 8} or len(options.gpu) == 1


@pytest.mark.parametrize(
    "name",
    [
        "gpsr-nano-x4",
        "$(touch x)",
        "a; rm -rf ~",
        "`id`",
        "../../etc/x",
        "-o",
        "a b",
        "'",
        '"',
        "x" * 100,
        "\u732b",
        "..",
        "a&b|c",
    ],
)
def test_no_word_of_a_sidecar_gets_into_a_shell(name):
    """The command is there to be pasted; and it is not cut, however long the name."""
    spec = dataclasses.replace(
        SPEC,
        sr=dataclasses.replace(SPEC.sr, name=name, dtype="fp16"),
        profile=Profile(min=(65_535,) * 2, opt=(65_535,) * 2, max=(65_535,) * 2, batch=1024),
        compute_capabilities=tuple(engine_file.CAPABILITY_BITS.values()),
    )
    for here in ({"version": "1.8.0.0"}, {"compute_capability": "9.0"}, {"scale": 8}):
        error, _ = require(spec, **here)
        assert re.fullmatch(r"gpsr-trt build [A-Za-z0-9_. ,-]+", error.remedy.removeprefix("-s 4, or "))
        assert "build -" not in error.remedy
        assert ".." not in error.remedy
        assert len(error.remedy) <= MAX_SHOWN


def test_a_rebuild_names_the_model_it_was_built_from():
    half = dataclasses.replace(SPEC, sr=dataclasses.replace(SPEC.sr, dtype="fp16"))
    assert engine_file.rebuild(SPEC).startswith("gpsr-trt build gpsr_nano_x4.onnx -o gpsr_nano_x4.plan --runtime")
    assert "build gpsr_nano_x4_fp16.onnx -o gpsr_nano_x4_fp16.plan" in engine_file.rebuild(half)


# --- nothing is loaded for any of this ---

BLOCKED = """
import importlib.abc, sys
class Blocked(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("tensorrt", "tensorrt_rtx", "cuda"):
            raise ImportError(f"{name} was asked for")
sys.meta_path.insert(0, Blocked())
def require_none_loaded():
    loaded = {name.partition(".")[0] for name in sys.modules} & {"tensorrt", "tensorrt_rtx", "cuda", "torch", "onnx"}
    assert not loaded, loaded
"""


def python(code, *arguments):
    """Runs `code` where no TensorRT and no CUDA can be imported."""
    command = [sys.executable, "-c", BLOCKED + code, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120)


def test_engines_are_read_and_judged_without_tensorrt_or_cuda(engine):
    result = python(
        "from pathlib import Path\n"
        "from gpsr_deploy.model_files import engine as engine_file\n"
        "from gpsr_deploy.errors import ModelRefused\n"
        "spec = engine_file.read(Path(sys.argv[1])).spec\n"
        "try:\n"
        "    engine_file.require_runnable(spec, version='1.7.1.116', compute_capability='9.0')\n"
        "except ModelRefused as error:\n"
        "    print(error)\n"
        "require_none_loaded()\n",
        engine,
    )
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout.startswith("error[5] the engine was built for GPUs of")


@pytest.mark.parametrize("sidecar", [True, False])
def test_inspect_tells_of_a_plan_without_tensorrt(engine, sidecar):
    if not sidecar:
        engine_file.sidecar_path(engine).unlink()
    code = "from gpsr_deploy.cli import main\ncode = main(['inspect', sys.argv[1], '--json'])\nrequire_none_loaded()\nsys.exit(code)"
    result = python(code, engine)
    assert (result.returncode, result.stderr) == (0, "")
    found = json.loads(result.stdout)
    assert (found["kind"], found["runtime"], found["runtime_version"]) == ("plan", "tensorrt-rtx", "1.7.1.116")
    assert found["compute_capabilities"] == list(GPUS)
    assert found["sha256"] == hashlib.sha256(plans.plan()).hexdigest()


@pytest.mark.parametrize("damage", ["cut", "flipped", "sidecar", "no plan"])
def test_infer_and_inspect_refuse_a_damaged_engine_before_anything_is_loaded(engine, damage):
    content = bytearray(engine.read_bytes())
    if damage == "sidecar":
        edit(engine, plan_sha256="00" * 32)
    elif damage == "no plan":
        engine.write_bytes(b"PK\3\4")
    elif damage == "cut":
        engine.write_bytes(content[:-1])
    else:
        content[-1] ^= 1
        engine.write_bytes(content)
    for command in (["inspect", str(engine)], ["infer", "x.png", "--engine", str(engine)]):
        code = f"from gpsr_deploy.cli import main\ncode = main({command!r})\nrequire_none_loaded()\nsys.exit(code)"
        result = python(code)
        assert (result.returncode, result.stdout) == (5, ""), result.stderr
        assert result.stderr.count("\n") == 1
        assert result.stderr.startswith(f"error[5] {engine}")


def test_inspect_shows_every_fact_of_an_engine(tmp_path, capsys):
    path = plans.write(tmp_path, parity=plans.PARITY)
    assert main(["inspect", str(path), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert list(found) == [
        *("kind", "name", "scale", "params", "macs_720p", "halo", "multiple_of", "tiling", "dtype", "checkpoint_sha256"),
        *("sha256", "checksum", "runtime", "runtime_version", "compute_capabilities", "profile", "weights", "onnx_sha256", "parity"),
    ]  # fmt: skip
    assert found["profile"] == {"min": [3, 3], "opt": [48, 60], "max": [96, 120], "batch": 2}
    assert found["parity"] == dataclasses.asdict(plans.PARITY)
    assert main(["inspect", str(path)]) == 0
    shown = dict(line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines())
    assert (shown["profile.max"], shown["parity.gpu"]) == ("96x120", "NVIDIA Test 4090")
    assert shown["compute_capabilities"] == "8.6, 8.9, 12.0"


def test_inspect_says_that_an_engine_was_not_compared_yet(engine, capsys):
    assert main(["inspect", str(engine)]) == 0
    assert re.search(r"^parity +not compared yet$", capsys.readouterr().out, re.MULTILINE)


def test_inspect_tells_of_a_foreign_plan_what_its_header_tells(tmp_path, capsys):
    (tmp_path / "x.engine").write_bytes(plans.plan(magic=b"ftrt"))
    assert main(["inspect", str(tmp_path / "x.engine"), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["name"], found["runtime"], found["compute_capabilities"]) == (None, "tensorrt", None)


# --- written together ---


@pytest.mark.parametrize("fails", [1, 2])
def test_a_full_disk_at_either_file_leaves_the_old_engine(engine, monkeypatch, fails):
    old = engine_file.read(engine)
    fsync, calls = os.fsync, []

    def full(descriptor):
        calls.append(descriptor)
        if len(calls) == fails:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", full)
    content = plans.plan(body=b"new")
    with pytest.raises(OutputUnwritable, match="No space"):
        engine_file.write(engine, content, plans.spec_of(content))
    assert len(calls) == fails
    assert engine_file.read(engine) == old
    assert files(engine.parent) == ["x.plan", "x.plan.json"]


@pytest.mark.parametrize("name", ["x.plan", "x.plan.json"])
def test_a_folder_in_the_way_of_either_file_is_refused_and_nothing_is_written(tmp_path, name):
    (tmp_path / name).mkdir()
    with pytest.raises(OutputUnwritable):
        plans.write(tmp_path)
    assert files(tmp_path) == [name]


@pytest.mark.parametrize("name", ["missing/x.plan", f"{'n' * 246}.plan"], ids=["folder", "name"])
def test_an_engine_that_cannot_be_written_leaves_nothing(tmp_path, name):
    with pytest.raises(OutputUnwritable):
        plans.write(tmp_path, name=name)
    assert files(tmp_path) == []


def test_who_dies_between_the_two_names_leaves_no_plan(tmp_path, monkeypatch):
    publish, published = atomic.publish, []

    def die(temporary, path, *, overwrite):
        if published:
            raise KeyboardInterrupt
        published.append(path)
        publish(temporary, path, overwrite=overwrite)

    monkeypatch.setattr(atomic, "publish", die)
    with pytest.raises(KeyboardInterrupt):
        plans.write(tmp_path)
    assert files(tmp_path) == ["x.plan.json"]
    refusal(tmp_path / "x.plan", code=3)


def test_two_writers_of_one_engine_leave_a_whole_one(tmp_path, monkeypatch):
    """The first waits half way for the second, which must wait until the first is done."""
    half_way, other_done = threading.Event(), threading.Event()
    publish = atomic.publish

    def slow(temporary, path, *, overwrite):
        publish(temporary, path, overwrite=overwrite)
        if not half_way.is_set():
            half_way.set()
            other_done.wait(0.5)

    monkeypatch.setattr(atomic, "publish", slow)
    first = threading.Thread(target=plans.write, args=(tmp_path, plans.plan(body=b"first")))
    first.start()
    assert half_way.wait(20)
    plans.write(tmp_path, plans.plan(body=b"second"))
    other_done.set()
    first.join()
    assert engine_file.read(tmp_path / "x.plan").content.endswith(b"second")
    assert files(tmp_path) == ["x.plan", "x.plan.json"]


@pytest.mark.parametrize("name", ["x.plan", "x.plan.json"])
def test_what_appeared_meanwhile_is_not_replaced_unless_that_was_asked_for(tmp_path, name):
    (tmp_path / name).write_bytes(b"precious")
    content = plans.plan()
    with pytest.raises(OutputUnwritable, match="--overwrite"):
        engine_file.write(tmp_path / "x.plan", content, plans.spec_of(content), overwrite=False)
    assert files(tmp_path) == [name]
    assert (tmp_path / name).read_bytes() == b"precious"
    engine_file.write(tmp_path / "x.plan", content, plans.spec_of(content))
    assert engine_file.read(tmp_path / "x.plan").content == content


def test_a_new_sidecar_belongs_to_the_plan_that_is_there(engine):
    proved = dataclasses.replace(engine_file.read(engine).spec, parity=plans.PARITY)
    engine_file.write_sidecar(engine, proved)
    assert engine_file.read(engine).spec == proved
    other = plans.write(engine.parent, plans.plan(body=b"built meanwhile"))
    before = engine_file.read(other)
    with pytest.raises(OutputUnwritable, match="meanwhile"):
        engine_file.write_sidecar(engine, proved)
    assert engine_file.read(other) == before


@pytest.mark.parametrize(
    "damage", [lambda sidecar: sidecar.unlink(), lambda sidecar: sidecar.write_text("{")], ids=["lost", "damaged"]
)
def test_a_sidecar_that_is_lost_or_damaged_can_be_written_again(engine, damage):
    spec = engine_file.read(engine).spec
    damage(engine_file.sidecar_path(engine))
    engine_file.write_sidecar(engine, spec)
    assert engine_file.read(engine).spec == spec


def test_the_profile_of_these_tests_can_be_asked_for():
    options = cli.parser().parse_args(
        ["build", "m.onnx", *["--min", "3x3", "--opt", "48x60", "--max", "96x120", "--batch", "2"]]
    )
    assert isinstance(options, argparse.Namespace)
    assert cli_build.profile_of(options, 3) == PROFILE
