"""gpsr-trt package: what is in each folder, from which model it says it came, and that nothing hostile gets in or is lost."""

import json
import os
import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import plans
import pytest
from films import SPEC, nearest_content
from project import ROOT

from gpsr_deploy.cli import main
from gpsr_deploy.errors import GpsrError, InputUnreadable, ModelRefused, OutputUnwritable, UsageError
from gpsr_deploy.model_files import engine as engine_file
from gpsr_deploy.model_files import onnx as onnx_file
from gpsr_deploy.package import TARGETS, cpp, folder, package, template, vapoursynth
from gpsr_deploy.package.source import read, shown
from gpsr_deploy.spec import Profile

TENSORRT = {"runtime": "tensorrt", "runtime_version": "10.13.0.35", "compute_capabilities": ("8.9",)}

HOSTILE = (
    'x"; import os; os.abort() #',
    "'''$(touch pwned)`touch pwned`${HOME}!",
    "--> <script>alert(1)</script> */ ]] @FILE@",
    "coding: utf-7 \\",
    "../../etc/passwd",
    'n" } ] model_warmup [ { name: "w',
    "Größe \U0001f600",
)
"""Printable, as a sidecar's name has to be."""

GENERATED = {
    "triton": {"README.md", "client.py", "models/{name}/config.pbtxt"},
    "vapoursynth": {"README.md", "film.vpy", "gpsr_vapoursynth.py"},
    "gstreamer": {"README.md", "film.sh", "tight.py"},
    "ffmpeg": {"README.md", "film.sh"},
    "cpp": {"README.md", "CMakeLists.txt", "main.cpp"},
}
MODEL = {"triton": "models/{name}/1/model.{kind}", "cpp": "model/{name}.{kind}"}
"""Where the model lies; elsewhere `{name}.{kind}`."""


def model_of(where: Path, kind: str, **changes) -> Path:
    """A model file of this kind in a folder: `onnx`, `tensorrt` or `tensorrt-rtx`."""
    where.mkdir(parents=True, exist_ok=True)
    match kind:
        case "onnx":
            (where / "x.onnx").write_bytes(nearest_content())
            return where / "x.onnx"
        case "tensorrt":
            return plans.write(where, plans.plan(magic=b"ftrt"), **TENSORRT | changes)
        case _:
            return plans.write(where, **changes)


CASES = [(target, kind) for target in TARGETS for kind in ("onnx", "tensorrt", "tensorrt-rtx") if (target, kind) != ("triton", "tensorrt-rtx")]  # fmt: skip


def text_files(path: Path, target: str, name: str = "x") -> dict[str, str]:
    return {entry.format(name=name): (path / entry.format(name=name)).read_text() for entry in GENERATED[target]}


@pytest.mark.parametrize(("target", "kind"), CASES)
def test_each_folder_holds_the_model_as_it_is_and_says_in_every_file_which_it_is(
    tmp_path: Path, target: str, kind: str
):
    model = model_of(tmp_path / "here", kind)
    packed = package(target, model, tmp_path / "out")
    found = {path.relative_to(tmp_path / "out").as_posix() for path in (tmp_path / "out").rglob("*") if path.is_file()}
    ending = "onnx" if kind == "onnx" else "plan"
    copy = MODEL.get(target, "{name}.{kind}").format(name="x", kind=ending)
    models = {copy, *([f"{copy}.json"] if ending == "plan" else [])}
    written = {name.format(name="x") for name in GENERATED[target]}
    library = {name for name in found if name.startswith("gpsr/")}
    assert found == set(packed.files) == written | models | {"SHA256SUMS"} | library
    assert bool(library) == (target == "cpp")
    assert (tmp_path / "out" / copy).read_bytes() == model.read_bytes()
    if ending == "plan":
        assert (tmp_path / "out" / f"{copy}.json").read_bytes() == engine_file.sidecar_path(model).read_bytes()
        assert engine_file.read(tmp_path / "out" / copy).spec == engine_file.read(model).spec
    source = read(model)
    wanted = [f"gpsr-trt package {target}", source.sha256, source.sr.checkpoint_sha256, shown(source.sr.name)]
    wanted += [source.engine.onnx_sha256, source.engine.runtime_version] if source.engine else []
    for name, text in {
        **text_files(tmp_path / "out", target),
        "SHA256SUMS": (tmp_path / "out/SHA256SUMS").read_text(),
    }.items():
        head = "\n".join(text.splitlines()[:12])
        assert [word for word in wanted if word not in head] == [], name
    assert (
        subprocess.run(["sha256sum", "--check", "--quiet", "SHA256SUMS"], cwd=tmp_path / "out", check=False).returncode
        == 0
    )


@pytest.mark.parametrize(("target", "kind"), CASES)
def test_a_folder_is_the_same_bytes_wherever_it_is_written_and_names_no_place(tmp_path: Path, target: str, kind: str):
    for place in ("one", "two"):
        package(target, model_of(tmp_path / place, kind), tmp_path / place / "out")
    one, two = tmp_path / "one/out", tmp_path / "two/out"
    names = [path.relative_to(one) for path in one.rglob("*") if path.is_file()]
    assert all((one / name).read_bytes() == (two / name).read_bytes() for name in names)
    for text in text_files(one, target).values():
        assert str(tmp_path) not in text
        assert str(ROOT) not in text
        assert not re.search(r"\b20[0-9]{2}-[0-9]{2}", text)
        assert not re.search(r"@[A-Z_]+@", text)


def pbtxt_of(path: Path):
    from google.protobuf import text_format
    from tritonclient.grpc import model_config_pb2

    return text_format.Parse(path.read_text(), model_config_pb2.ModelConfig())


def compiles(path: Path) -> None:
    """Fails where a written file is none of its language."""
    match path.suffix:
        case ".py" | ".vpy":
            compile(path.read_bytes(), path, "exec")
        case ".sh":
            assert subprocess.run(["bash", "-n", path], check=False).returncode == 0
            assert os.access(path, os.X_OK)
        case ".pbtxt":
            pbtxt_of(path)


@pytest.mark.parametrize("target", TARGETS)
def test_a_hostile_name_changes_no_line_but_the_one_that_shows_it_encoded(tmp_path: Path, target: str):
    kind = "tensorrt" if target == "triton" else "tensorrt-rtx"
    package(target, model_of(tmp_path / "plain", kind), tmp_path / "wanted")
    wanted = text_files(tmp_path / "wanted", target)
    for number, name in enumerate(HOSTILE):
        sr = plans.dataclasses.replace(plans.SR, name=name)
        made = tmp_path / f"made{number}"
        package(target, model_of(tmp_path / f"hostile{number}", kind, sr=sr), made)
        for file, text in text_files(made, target).items():
            compiles(made / file)
            pairs = zip(text.splitlines(), wanted[file].splitlines(), strict=True)
            different = [one for one, other in pairs if one != other]
            assert len(different) == 1, file
            assert re.fullmatch(
                r"(#|//)? ?Model: [A-Za-z0-9%_.~-]+, fp32, 4 times larger, halo of 24 LR pixels", different[0]
            )
            assert shown(name) in different[0]


@pytest.mark.parametrize("name", ["$(touch pwned).plan", 'a"b.plan', "-rf.plan", "a\nb.plan", "..plan.plan", "\udcff.plan", "é.plan", "a b.plan", "x" * 80 + ".plan"])  # fmt: skip
def test_a_file_name_that_is_not_plain_is_replaced(tmp_path: Path, name: str):
    model = plans.write(tmp_path, plans.plan(magic=b"ftrt"), name=name, **TENSORRT)
    for target in TARGETS:
        packed = package(target, model, tmp_path / target)
        own = [file for file in packed.files if not file.startswith("gpsr/")]
        assert all(re.fullmatch(r"[A-Za-z0-9_./]+", file) for file in own)
        assert any("gpsr_x4" in file for file in own)


def test_what_is_not_plain_text_reaches_no_template():
    for character in "\"'`$\\<>#*&|;{}[]!@\n\r\t\0é\u2028":
        with pytest.raises(ValueError, match="plain"):
            template.plain(f"a{character}b")
    with pytest.raises(KeyError):
        template.render("ffmpeg/film.sh", {}, header=[])


@pytest.mark.parametrize(("target", "kind"), CASES)
def test_every_script_is_one_of_its_language_and_in_the_style_of_the_project(tmp_path: Path, target: str, kind: str):
    package(target, model_of(tmp_path, kind), tmp_path / "out")
    files = [tmp_path / "out" / name.format(name="x") for name in GENERATED[target]]
    for path in files:
        compiles(path)
    python = [path for path in files if path.suffix in (".py", ".vpy")]
    ruff = [sys.executable, "-m", "ruff"]
    if python:
        rules = ["--config", str(ROOT / "pyproject.toml"), "--ignore", "T201"]
        assert subprocess.run([*ruff, "check", "--no-cache", "-q", *rules, *python], check=False).returncode == 0
        form = ["format", "--no-cache", "--diff", "-q", "--config", str(ROOT / "pyproject.toml")]
        assert subprocess.run([*ruff, *form, *python], check=False).returncode == 0


# --- Triton ---


@pytest.mark.parametrize("kind", ["onnx", "tensorrt"])
def test_config_pbtxt_is_of_tritons_schema_and_says_what_the_model_takes(tmp_path: Path, kind: str):
    from tritonclient.grpc import model_config_pb2 as schema

    profile = Profile(min=(12, 15), opt=(48, 60), max=(96, 120), batch=7)
    changes = {"profile": profile} if kind == "tensorrt" else {}
    package("triton", model_of(tmp_path, kind, **changes), tmp_path / "out")
    path = tmp_path / "out/models/x/config.pbtxt"
    config = pbtxt_of(path)
    assert config.name == path.parent.name  # else Triton refuses it
    (lr,), (sr,) = config.input, config.output
    assert (lr.name, lr.data_type, list(lr.dims)) == ("lr", schema.TYPE_FP32, [3, -1, -1])
    assert (sr.name, sr.data_type, list(sr.dims)) == ("sr", schema.TYPE_FP32, [3, -1, -1])
    (group,) = config.instance_group
    if kind == "tensorrt":
        assert (config.platform, config.backend, config.max_batch_size) == ("tensorrt_plan", "", 7)
        assert group.kind == schema.ModelInstanceGroup.KIND_GPU
        assert "12x15 to 96x120" in path.read_text()
        assert (path.parent / "1/model.plan").is_file()
    else:
        assert (config.platform, config.backend, config.max_batch_size) == ("", "onnxruntime", 4)
        assert group.kind == schema.ModelInstanceGroup.KIND_CPU
        assert (path.parent / "1/model.onnx").is_file()


def test_triton_refuses_what_it_has_no_backend_for(tmp_path: Path):
    with pytest.raises(ModelRefused, match="TensorRT-RTX") as refused:
        package("triton", model_of(tmp_path, "tensorrt-rtx"), tmp_path / "out")
    assert "--engine MODEL.onnx" in refused.value.remedy
    assert refused.value.path == tmp_path / "x.plan"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["x.plan", "x.plan.json"]


# --- VapourSynth ---


@pytest.mark.parametrize(("kind", "call"), [("onnx", "core.ort.Model"), ("tensorrt", "core.trt.Model"), ("tensorrt-rtx", "core.trt_rtx.Model")])  # fmt: skip
def test_the_plugin_is_that_of_the_runtime_and_the_overlap_is_in_its_units(tmp_path: Path, kind: str, call: str):
    model = model_of(tmp_path, kind)
    package("vapoursynth", model, tmp_path / "out")
    script = (tmp_path / "out/gpsr_vapoursynth.py").read_text()
    assert call in script
    source = read(model)
    assert f"OVERLAP = {source.sr.halo * source.sr.scale}\n" in script
    assert vapoursynth.overlap(source) % source.sr.multiple_of == 0
    assert ("engine_path=" in script) == (kind != "onnx")
    if source.engine:
        assert f"LARGEST = {source.profile.max}\n" in script
        assert "are refused" in (tmp_path / "out/README.md").read_text()  # 2 * 96 of overlap do not fit into 96x120


def test_an_engine_that_can_be_cut_is_said_to_be(tmp_path: Path):
    profile = Profile(min=(3, 3), opt=(195, 240), max=(195, 960), batch=1)
    package("vapoursynth", model_of(tmp_path, "tensorrt-rtx", profile=profile), tmp_path / "out")
    assert "are cut into tiles with an overlap of 96" in (tmp_path / "out/README.md").read_text()


# --- What is refused, and what is left then ---


def refusals(tmp_path: Path):
    """(model, scale, class) of what no folder is made of."""
    checkpoint = tmp_path / "x.safetensors"
    checkpoint.write_bytes(b"")
    damaged = plans.write(tmp_path, name="damaged.plan")
    damaged.write_bytes(damaged.read_bytes()[:-1] + b"!")
    alone = tmp_path / "alone.plan"
    alone.write_bytes(plans.plan())
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(nearest_content()[:-9])
    (tmp_path / "x.bin").write_bytes(b"")
    return [
        (checkpoint, None, ModelRefused), (damaged, None, ModelRefused), (alone, None, ModelRefused), (broken, None, ModelRefused),
        (tmp_path / "x.bin", None, ModelRefused), (tmp_path / "none.plan", None, InputUnreadable), (tmp_path / "none.onnx", None, InputUnreadable),
        (model_of(tmp_path, "onnx"), 8, ModelRefused), (model_of(tmp_path, "tensorrt"), 8, ModelRefused),
    ]  # fmt: skip


def test_models_that_do_not_pass_the_gate_make_no_folder(tmp_path: Path):
    cases = refusals(tmp_path)
    before = sorted(tmp_path.iterdir())
    for model, scale, kind in cases:
        with pytest.raises(GpsrError) as refused:
            package("ffmpeg", model, tmp_path / "out", scale=scale)
        assert type(refused.value) is kind, model
        assert refused.value.path is not None, model
        assert sorted(tmp_path.iterdir()) == before


def test_only_a_new_or_an_empty_folder_is_written_and_with_overwrite_our_own(tmp_path: Path):
    model, out = model_of(tmp_path / "here", "onnx"), tmp_path / "out"
    out.mkdir()
    package("ffmpeg", model, out)  # empty
    with pytest.raises(OutputUnwritable, match="there is such a folder"):
        package("gstreamer", model, out)
    package("gstreamer", model, out, overwrite=True)
    assert "GStreamer" in (out / "film.sh").read_text()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["here", "out"]
    (out / "__pycache__").mkdir()
    (out / "__pycache__/x.pyc").write_bytes(b"")
    package("vapoursynth", model, out, overwrite=True)  # nobody's work
    (out / "notes.txt").write_text("mine")
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    with pytest.raises(OutputUnwritable, match=r"notes\.txt"):
        package("ffmpeg", model, out, overwrite=True)
    assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize("sums", [None, "", "# something else\n" + "0" * 64 + "  a\n"])
def test_a_folder_of_others_is_never_replaced(tmp_path: Path, sums: str | None):
    (tmp_path / "out").mkdir()
    (tmp_path / "out/a").write_text("mine")
    if sums is not None:
        (tmp_path / "out/SHA256SUMS").write_text(sums)
    with pytest.raises(OutputUnwritable, match="not empty"):
        package("ffmpeg", model_of(tmp_path, "onnx"), tmp_path / "out", overwrite=True)
    assert (tmp_path / "out/a").read_text() == "mine"


def test_a_file_or_the_folder_one_is_in_are_no_outputs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    model = model_of(tmp_path / "here", "onnx")
    (tmp_path / "file").write_text("mine")
    with pytest.raises(OutputUnwritable, match="a file of that name"):
        package("ffmpeg", model, tmp_path / "file", overwrite=True)
    (tmp_path / "empty/inner").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "empty/inner")
    for output in (".", "..", tmp_path / "empty"):
        with pytest.raises(UsageError, match="that you are in"):
            package("ffmpeg", model, Path(output))
    with pytest.raises(OutputUnwritable):
        package("ffmpeg", model, tmp_path / "file" / "out")


def test_a_link_to_a_folder_stays_a_link(tmp_path: Path):
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    package("ffmpeg", model_of(tmp_path / "here", "onnx"), tmp_path / "link")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real/film.sh").is_file()


@pytest.mark.parametrize("full_at", [0, 2, 4])
def test_a_full_disk_leaves_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, full_at: int):
    model, out = model_of(tmp_path / "here", "onnx"), tmp_path / "out"
    for there in (False, True):
        if there:
            package("ffmpeg", model, out)
        before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
        calls = iter(range(100))

        def fsync(_descriptor: int, calls=calls) -> None:
            if next(calls) == full_at:
                raise OSError(28, "No space left on device")

        with monkeypatch.context() as patched:
            patched.setattr(folder.os, "fsync", fsync)
            with pytest.raises(OutputUnwritable, match="No space left"):
                package("vapoursynth", model, out, overwrite=True)
        assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


def test_what_killed_runs_left_goes_and_a_folder_that_was_moved_away_comes_back(tmp_path: Path):
    model, out = model_of(tmp_path / "here", "onnx"), tmp_path / "out"
    package("ffmpeg", model, out)
    half = tmp_path / ".out.1-0123abcd.tmp"
    half.mkdir()
    (half / "film.sh").write_text("half")
    out.rename(tmp_path / ".out.1-0123abcd.old")  # where a replacement was killed in the middle
    with pytest.raises(OutputUnwritable, match="there is such a folder"):
        package("gstreamer", model, out)
    assert "ffmpeg" in (out / "film.sh").read_text()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["here", "out"]


def test_what_another_run_is_writing_stays(tmp_path: Path):
    with folder._temporary(tmp_path / "out") as other:
        (other / "a").write_text("a")
        package("ffmpeg", model_of(tmp_path / "here", "onnx"), tmp_path / "out")
        assert (other / "a").is_file()
    assert not other.exists()


# --- The command ---


def test_the_command_writes_says_and_prints(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    model = model_of(tmp_path, "tensorrt")
    assert main(["package", "cpp", "--engine", str(model), "-o", str(tmp_path / "out"), "--json"]) == 0
    said = capsys.readouterr()
    found = json.loads(said.out)
    assert (found["target"], found["engine"], found["output"]) == ("cpp", str(model), str(tmp_path / "out"))
    assert {"model/x.plan", "model/x.plan.json", "README.md", "main.cpp", "gpsr/CMakeLists.txt"} <= set(found["files"])
    assert main(["package", "cpp", "--engine", str(model), "-o", str(tmp_path / "out")]) == 4
    assert main(["package", "cpp", "--engine", str(model), "-o", str(tmp_path / "out"), "--overwrite"]) == 0
    assert "README.md" in capsys.readouterr().err
    assert main(["package", "nothing", "--engine", str(model), "-o", str(tmp_path / "new")]) == 2
    assert main(["package", "cpp", "--engine", str(model)]) == 2
    assert (
        main(
            [
                "package",
                "triton",
                "--engine",
                str(model_of(tmp_path / "rtx", "tensorrt-rtx")),
                "-o",
                str(tmp_path / "new"),
            ]
        )
        == 5
    )
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("scale", [4, 8])
def test_without_an_engine_it_is_the_model_that_ships(tmp_path: Path, scale: int):
    assert main(["package", "triton", "-s", str(scale), "-o", str(tmp_path / "out"), "-q"]) == 0
    assert (tmp_path / f"out/models/gpsr_nano_x{scale}/1/model.onnx").is_file()


def test_the_commands_targets_are_those_of_the_library():
    from gpsr_deploy.cli import package as command

    assert command.TARGETS == TARGETS
    assert set(GENERATED) == set(TARGETS)


def test_a_model_without_a_checksum_is_said_to_have_none(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    import onnx

    model = onnx.ModelProto.FromString(nearest_content())
    kept = [entry for entry in model.metadata_props if "sha256" not in entry.key]
    del model.metadata_props[:]
    model.metadata_props.extend(kept)
    model.producer_name = "another"
    (tmp_path / "x.onnx").write_bytes(model.SerializeToString())
    assert onnx_file.read(tmp_path / "x.onnx").spec == SPEC
    assert main(["package", "ffmpeg", "--engine", str(tmp_path / "x.onnx"), "-o", str(tmp_path / "out")]) == 0
    assert "checksum" in capsys.readouterr().err


# --- C++ ---


def test_the_wheel_gets_the_sources_that_the_target_copies():
    with (ROOT / "pyproject.toml").open("rb") as file:
        included = tomllib.load(file)["tool"]["hatch"]["build"]["targets"]["wheel"]["force-include"]
    assert included == {f"embed/cpp/{part}": f"gpsr_deploy/package/cpp/{part}" for part in cpp.PARTS}
    assert all((ROOT / source).exists() for source in included)


def test_the_sources_are_those_of_the_library_without_its_tests(tmp_path: Path):
    packed = package("cpp", model_of(tmp_path / "here", "onnx"), tmp_path / "out")
    copied = {name.removeprefix("gpsr/") for name in packed.files if name.startswith("gpsr/")}
    there = {path.relative_to(cpp.sources()).as_posix() for path in cpp.sources().rglob("*") if path.is_file()}
    assert copied == {name for name in there if not name.startswith(("tests/", "build", "."))}  # where people build it


@pytest.mark.slow
def test_the_installed_wheel_can_write_every_folder(tmp_path: Path):
    """pip fetches hatchling for it."""
    build = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", str(ROOT), "-w", str(tmp_path)]
    subprocess.run(build, check=True)
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "installed")
    environment = os.environ | {"PYTHONPATH": str(tmp_path / "installed")}
    for target in TARGETS:
        command = [sys.executable, "-m", "gpsr_deploy", "package", target, "-o", str(tmp_path / target)]
        subprocess.run(command, check=True, cwd=tmp_path, env=environment)
        here = tmp_path / "checkout" / target
        package(target, tmp_path / "installed/gpsr_deploy/models/gpsr_nano_x4.onnx", here)
        names = {path.relative_to(here) for path in here.rglob("*") if path.is_file()}
        assert {
            path.relative_to(tmp_path / target) for path in (tmp_path / target).rglob("*") if path.is_file()
        } == names
        assert all((here / name).read_bytes() == (tmp_path / target / name).read_bytes() for name in names)
