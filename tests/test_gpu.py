"""What only a GPU can show: engines of the models that ship, built for it, proved on it, and run. `make test-gpu`."""

import json

import numpy as np
import pytest

from gpsr_deploy import models, samples
from gpsr_deploy.backends import flavours, open_backend
from gpsr_deploy.cli import main
from gpsr_deploy.media import images
from gpsr_deploy.model_files import engine as engine_file
from gpsr_deploy.model_files import onnx as onnx_file
from gpsr_deploy.proof import parity
from gpsr_deploy.spec import Profile

pytestmark = pytest.mark.gpu

PROFILE = Profile(min=(3, 3), opt=(96, 96), max=(240, 240), batch=4)


@pytest.fixture(scope="module")
def runtime():
    """The flavour that builds for this GPU. There has to be one: a GPU whose engines nobody tried proves nothing."""
    from gpsr_deploy.building.build import supported_capabilities
    from gpsr_deploy.building.make_engine import gpu, installed

    cuda, _ = gpu()
    for found in installed():
        supported = supported_capabilities(flavours.module_of(found))
        if not supported or cuda.compute_capability in supported:
            return found
    pytest.fail(
        f"no TensorRT that is installed builds for {cuda.name} ({cuda.compute_capability}): pip install '.[trt]'"
    )


@pytest.fixture(scope="module", params=[path.name for path in models.files()])
def engine(request, runtime, tmp_path_factory):
    """An engine of each model that ships, which `make_engine` has proved."""
    from gpsr_deploy.building.make_engine import make_engine

    model = next(path for path in models.files() if path.name == request.param)
    path = tmp_path_factory.mktemp("engines") / f"{model.stem}.plan"
    make_engine(onnx_file.read(model), path, PROFILE, runtime=runtime)
    return path, model


def photographs():
    return [images.read(path).pixels for path in samples.photographs()]


def test_the_build_proves_it(engine):
    spec = engine_file.read(engine[0]).spec
    assert spec.parity is not None
    assert spec.parity.max_level <= 1
    assert spec.parity.psnr_db is None or spec.parity.psnr_db >= parity.MIN_PSNR_DB[spec.sr.dtype]


def test_every_seam_holds(engine, capsys):
    assert main(["validate", "--engine", str(engine[0]), "--json"]) == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [row["seam"] for row in rows] == ["onnx~engine", "whole~tiled"]
    assert all(row["ok"] and row["non_finite"] == 0 for row in rows)


def test_batches_of_any_number_give_the_same_as_one_by_one(engine):
    pictures = np.stack([photo[:60, :90].transpose(2, 0, 1) for photo in photographs() * 3]).astype(np.float32) / 255
    with open_backend(engine[0]) as backend:
        together = backend.infer(pictures)
        alone = np.concatenate([backend.infer(pictures[index : index + 1]) for index in range(len(pictures))])
        again = backend.infer(pictures)
    assert np.array_equal(together, again)
    assert np.abs(together - alone).max() < 2e-3  # other batches may be computed by other kernels


def test_sizes_may_change_from_run_to_run(engine):
    with open_backend(engine[0]) as backend, open_backend(engine[1], device="cpu") as reference:
        for size in [(96, 96), (51, 120), (96, 96), (3, 3), (240, 240), (51, 120), (51, 120), (51, 120)]:
            batch = np.ascontiguousarray(parity.photographs(size)[0].transpose(2, 0, 1)[None])
            assert np.abs(backend.infer(batch) - reference.infer(batch)).max() < 5e-3, size


def test_a_picture_on_the_gpu_stays_there(engine):
    torch = pytest.importorskip("torch")
    lr = torch.from_numpy(np.ascontiguousarray(photographs()[0][:96, :96].transpose(2, 0, 1)[None])).float() / 255
    with open_backend(engine[0]) as backend:
        expected = backend.infer(lr.numpy())
        found = torch.from_dlpack(backend.infer_on_device(lr.cuda()))
        assert found.is_cuda
        assert np.array_equal(found.cpu().numpy(), expected)
        assert np.array_equal(torch.as_tensor(backend.infer_on_device(lr.cuda())).cpu().numpy(), expected)


def test_infer_and_bench_run_on_it(engine, tmp_path, capsys):
    source = next(iter(samples.photographs()))
    assert main(["infer", str(source), "--engine", str(engine[0]), "-o", str(tmp_path / "x.png"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["device"] == "cuda:0"
    assert (
        main(["infer", str(source), "--engine", str(engine[1]), "--device", "cpu", "-o", str(tmp_path / "y.png")]) == 0
    )
    found, wanted = (images.read(tmp_path / name).pixels.astype(int) for name in ("x.png", "y.png"))
    assert np.abs(found - wanted).max() <= 2
    assert main(["bench", "--engine", str(engine[0]), "--vs", str(engine[1]), "--size", "96x96", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["fps"] > 0
    assert told["copies_share"] is not None
    assert told["parity"]["max_level"] <= 1
