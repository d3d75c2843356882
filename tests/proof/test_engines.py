"""An engine's proof: once, where it runs, kept beside it; an engine that computes something else never passes."""

import dataclasses
import hashlib
import os
import stat
from types import SimpleNamespace

import numpy as np
import plans
import pytest

from gpsr_deploy import atomic, models
from gpsr_deploy.errors import BackendUnavailable, ModelRefused, OutputUnwritable, ParityFailed
from gpsr_deploy.model_files import engine as engine_file
from gpsr_deploy.model_files import onnx as onnx_file
from gpsr_deploy.proof import engines, parity
from gpsr_deploy.spec import Profile

MODEL = models.shipped(4)
SMALL = Profile(min=(3, 3), opt=(9, 9), max=(9, 12), batch=2)


@pytest.fixture(scope="module")
def model():
    return onnx_file.read(MODEL)


@pytest.fixture
def spec(model):
    """Of an engine made by hand, from the model that ships."""
    return plans.spec_of(plans.plan(), sr=model.spec, onnx_sha256=model.sha256, profile=SMALL)


@pytest.fixture
def engine(tmp_path, spec):
    engine_file.write(tmp_path / "x.plan", plans.plan(), spec)
    return tmp_path / "x.plan"


def off(levels):
    return lambda sr: sr + np.float32(levels / 255)


def with_value(value, *, at=7):
    def wrong(sr):
        sr = sr.copy()
        sr.flat[at] = value
        return sr

    return wrong


WRONG = {
    "nan": with_value(np.nan),
    "infinity": with_value(-np.inf),
    "all nan": lambda sr: np.full_like(sr, np.nan),
    "two levels": off(2),
    "one pixel, by much": with_value(9.0),
    "black": np.zeros_like,
    "channels": lambda sr: sr[:, ::-1],
    "mirrored": lambda sr: sr[:, :, :, ::-1],
    "the second of a batch": lambda sr: np.concatenate([sr[:1], sr[:1]]) if len(sr) == 2 else sr,
    "fp16": lambda sr: sr.astype(np.float16).astype(np.float32),
}


# --- one proof ---


def test_what_computes_the_same_is_proved_with_figures(spec, model):
    with plans.FakeEngine(spec, model) as engine:
        proved = engines.prove(engine, spec, model)
    assert dataclasses.replace(proved, parity=None) == spec
    found = proved.parity
    assert (found.psnr_db, found.max_level, found.share_off_by_one) == (None, 0, 0.0)
    assert found.gpu == "NVIDIA Test 4090"
    assert found.images >= 3
    assert type(spec).from_json(proved.to_json()) == proved


def test_what_is_nearly_the_same_is_proved_with_its_decibels(spec, model):
    with plans.FakeEngine(spec, model, lambda sr: sr + np.float32(1e-6)) as engine:
        found = engines.prove(engine, spec, model).parity
    assert 110 < found.psnr_db < 130
    assert found.max_level <= 1


@pytest.mark.parametrize("case", WRONG)
def test_what_computes_something_else_is_never_proved(spec, model, case):
    with plans.FakeEngine(spec, model, WRONG[case]) as engine, pytest.raises(ParityFailed) as caught:
        engines.prove(engine, spec, model)
    assert caught.value.exit_code == 7
    assert str(caught.value).isprintable()
    assert "at least 100 dB and at most 1 level" in str(caught.value)
    assert caught.value.remedy
    assert ("NaN or infinite" in str(caught.value)) == (case in ("nan", "infinity", "all nan"))


def test_an_fp16_engine_may_be_further_away(spec, model):
    half = dataclasses.replace(spec, sr=dataclasses.replace(spec.sr, dtype="fp16"), weights={"fp16": 1.0})
    with plans.FakeEngine(half, model, WRONG["fp16"]) as engine:
        assert 60 <= engines.prove(engine, half, model).parity.psnr_db < 100
    assert engines.tolerance_of(half).min_psnr_db == parity.MIN_PSNR_DB["fp16"] == 60
    assert engines.tolerance_of(spec).min_psnr_db == parity.MIN_PSNR_DB["fp32"] == 100


def test_the_sizes_are_the_engines_and_so_is_the_batch(spec, model):
    for batch, low, high in ((1, (6, 9), (6, 9)), (2, (3, 3), (9, 12)), (4, (3, 3), (6, 90))):
        profile = Profile(min=low, opt=low, max=high, batch=batch)
        narrow = dataclasses.replace(spec, profile=profile)
        with plans.FakeEngine(narrow, model) as engine:
            engines.prove(engine, narrow, model)
            assert all(profile.takes(shape[2:]) for shape in engine.shapes)
            assert max(shape[0] for shape in engine.shapes) == min(batch, 2)


def test_an_fp16_engine_that_fails_is_told_what_to_keep_in_fp32(monkeypatch):
    path = models.files()[[path.stem for path in models.files()].index("gpsr_nano_x4_fp16")]
    half = onnx_file.read(path)
    spec = plans.spec_of(plans.plan(), sr=half.spec, onnx_sha256=half.sha256, profile=SMALL)
    with plans.FakeEngine(spec, half, np.zeros_like) as engine:
        with pytest.raises(ParityFailed, match="at least 60 dB") as caught:
            engines.prove(engine, spec, half)
        assert "--keep-fp32 " in caught.value.remedy

        def missing(*_arguments):
            raise BackendUnavailable("Polygraphy is not installed")

        monkeypatch.setattr("gpsr_deploy.proof.layers.loudest", missing)
        with pytest.raises(ParityFailed) as caught:
            engines.prove(engine, spec, half)
        assert caught.value.remedy == "build from the fp32 model"


@pytest.mark.parametrize("name", ["", "\x1b[2J\n", "x" * 500, "NVIDIA\0"], ids=repr)
def test_a_gpu_of_any_name_can_be_written_down(spec, model, name):
    with plans.FakeEngine(spec, model) as engine:
        engine.gpu = name
        proved = engines.prove(engine, spec, model)
    assert type(spec).from_json(proved.to_json()) == proved


# --- once ---


def test_an_engine_is_proved_at_its_first_use_and_never_again(engine, spec, model):
    with plans.FakeEngine(spec, model) as backend:
        assert engines.prove_once(backend, engine) is None
        assert backend.shapes
    proved = engine_file.read(engine).spec
    assert proved.parity.gpu == "NVIDIA Test 4090"
    assert dataclasses.replace(proved, parity=None) == spec
    with plans.FakeEngine(proved, model, WRONG["nan"]) as backend:
        assert engines.prove_once(backend, engine) is None
        assert backend.shapes == []


@pytest.mark.parametrize("case", ["nan", "black", "two levels"])
def test_an_engine_that_fails_stays_unproved_and_is_named(engine, spec, model, case):
    for _ in range(2 if case == "nan" else 1):  # nobody takes a failure for a proof the next time
        with plans.FakeEngine(spec, model, WRONG[case]) as backend, pytest.raises(ParityFailed) as caught:
            engines.prove_once(backend, engine)
        assert caught.value.path == engine
        assert engine_file.read(engine).spec == spec
        assert spec.parity is None


def test_an_engine_that_cannot_run_stays_unproved(engine, spec, model):
    def fail(sr):
        raise ModelRefused("CUDA failed with cudaErrorLaunchFailure")

    with plans.FakeEngine(spec, model, fail) as backend, pytest.raises(ModelRefused, match="LaunchFailure") as caught:
        engines.prove_once(backend, engine)
    assert caught.value.path == engine
    assert engine_file.read(engine).spec.parity is None


def test_without_its_model_an_engine_is_not_proved_and_that_is_said(engine, spec, model):
    stranger = dataclasses.replace(spec, onnx_sha256="12" * 32)
    with plans.FakeEngine(stranger, model) as backend:
        said = engines.prove_once(backend, engine)
        assert backend.shapes == []
    assert "121212121212..." in said
    assert f"gpsr-trt validate --engine {engine} --reference" in said
    assert engine_file.read(engine).spec.parity is None


def test_without_a_sidecar_nobody_knows_what_to_prove(engine, spec, model):
    with plans.FakeEngine(spec, model) as backend:
        backend.engine = None
        assert "no sidecar" in engines.prove_once(backend, engine)
        assert backend.shapes == []


def test_without_onnx_runtime_an_engine_is_not_proved_and_that_is_said(engine, spec, model, monkeypatch):
    def missing(*_arguments, **_options):
        raise BackendUnavailable("onnxruntime is not installed", expected="it", remedy="pip install gpsr-deploy[rtx]")

    backend = plans.FakeEngine(spec, model)
    monkeypatch.setattr("gpsr_deploy.backends.onnxruntime.OnnxRuntimeBackend", missing)
    with backend:
        said = engines.prove_once(backend, engine)
    assert "onnxruntime is not installed" in said
    assert "pip install" in said
    assert engine_file.read(engine).spec.parity is None


def test_what_is_no_engine_needs_no_proof(tmp_path):
    for runtime in ("onnxruntime", "openvino", "torch"):
        assert engines.prove_once(SimpleNamespace(runtime=runtime), tmp_path / "m.onnx") is None


def test_a_folder_that_is_only_read_is_no_failure(engine, spec, model, monkeypatch):
    def refuse(path, data):
        raise OutputUnwritable("cannot be written (Read-only file system)", path=path)

    monkeypatch.setattr(atomic, "write", refuse)
    with plans.FakeEngine(spec, model) as backend:
        assert engines.prove_once(backend, engine) is None
        assert backend.shapes
    assert engine_file.read(engine).spec == spec


def test_an_engine_that_was_replaced_during_its_proof_keeps_its_own_sidecar(engine, spec, model):
    def replaced(sr):
        plans.write(engine.parent, plans.plan(body=b"another"))
        return sr

    with plans.FakeEngine(spec, model, replaced) as backend:
        assert engines.prove_once(backend, engine) is None
    found = engine_file.read(engine)
    assert found.content.endswith(b"another")
    assert found.spec.parity is None


# --- the model that an engine was built from ---


def test_a_model_that_ships_is_found_wherever_the_engine_lies(tmp_path, spec):
    for folder in (tmp_path, tmp_path / "missing", engine_file.sidecar_path(tmp_path / "x")):
        assert onnx_file.read(engines.model_of(spec, folder)).sha256 == spec.onnx_sha256


def test_a_model_beside_the_plan_is_found_among_junk(tmp_path, spec):
    content = bytearray(MODEL.read_bytes())
    mine = bytes(content).replace(b"gpsr-deploy", b"gpsr-depl0y", 1)
    (tmp_path / "a.onnx").write_bytes(b"junk")
    (tmp_path / "b.onnx").mkdir()
    os.mkfifo(tmp_path / "c.onnx")
    (tmp_path / "d.onnx").symlink_to("d.onnx")
    (tmp_path / "e.onnx").symlink_to("nowhere")
    (tmp_path / "f.onnx").write_bytes(b"")
    (tmp_path / "g.onnx").write_bytes(mine)
    (tmp_path / "h.txt").write_bytes(mine)
    for mode in (0, 0o644):
        (tmp_path / "a.onnx").chmod(mode)
        assert stat.S_IMODE((tmp_path / "a.onnx").stat().st_mode) == mode
    (tmp_path / "g.onnx").rename(tmp_path / "\x1b z.onnx")
    wanted = dataclasses.replace(spec, onnx_sha256=hashlib.sha256(mine).hexdigest())
    assert engines.model_of(wanted, tmp_path) == tmp_path / "\x1b z.onnx"
    assert engines.model_of(dataclasses.replace(spec, onnx_sha256="00" * 32), tmp_path) is None


def test_what_only_says_that_it_is_the_model_is_not_it(tmp_path, spec):
    """Found by its bytes, not by its name or what stands in it."""
    (tmp_path / "gpsr_nano_x4.onnx").write_bytes(MODEL.read_bytes().replace(b"gpsr-deploy", b"gpsr-depl0y", 1))
    assert engines.model_of(spec, tmp_path) == MODEL
    other = dataclasses.replace(spec, onnx_sha256="34" * 32)
    assert engines.model_of(other, tmp_path) is None
