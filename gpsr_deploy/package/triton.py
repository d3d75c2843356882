"""A model repository for NVIDIA's Triton Inference Server, and a client that cuts pictures into tiles."""

from __future__ import annotations

from gpsr_deploy.errors import ModelRefused
from gpsr_deploy.package.source import Source, facts, model_files
from gpsr_deploy.package.template import File, render

REPOSITORY = "models"


def files(source: Source) -> dict[str, File]:
    """By name. Raises ModelRefused for an engine of TensorRT-RTX, which Triton has no backend for."""
    engine = source.engine
    if engine is not None and engine.runtime != "tensorrt":
        raise ModelRefused(
            "Triton runs engines of TensorRT, not of TensorRT-RTX",
            expected="an engine built with --runtime tensorrt, or the ONNX model",
            remedy="gpsr-trt package triton --engine MODEL.onnx",
        )
    profile = source.profile
    low, best, high = (f"{height}x{width}" for height, width in (profile.min, profile.opt, profile.max))
    inside = f"{REPOSITORY}/{source.name}"
    model = f"{inside}/1/{'model.onnx' if engine is None else 'model.plan'}"
    values = {
        "NAME": source.name,
        "BATCH": profile.batch,
        "SCALE": source.sr.scale,
        "HALO": source.sr.halo,
        "MULTIPLE_OF": source.sr.multiple_of,
        "TILING": source.sr.tiling,
        "DTYPE": source.sr.dtype,
        "CHECKPOINT": source.sr.checkpoint_sha256,
        "BYTES_PER_PIXEL": source.bytes_per_pixel,
        "SIZES": f"any multiple of {source.sr.multiple_of}" if engine is None else f"{low} to {high}, best {best}",
        "RUN_BY": "backend" if engine is None else "platform",
        "RUNNER": "onnxruntime" if engine is None else "tensorrt_plan",
        "KIND": "KIND_CPU" if engine is None else "KIND_GPU",
        "PROFILE": f"min={profile.min}, opt={profile.opt}, max={profile.max}, batch={profile.batch}",
        "NEEDS": (
            "Triton with its ONNX Runtime backend. It runs on the CPU, and with KIND_GPU in config.pbtxt on a GPU."
            if engine is None
            else f"A GPU of compute capability {' or '.join(engine.compute_capabilities)}, and the release of Triton "
            f"with TensorRT {'.'.join(engine.runtime_version.split('.')[:3])}: an engine runs in the TensorRT that built it."
        ),
    }  # fmt: skip
    header = facts(source, "triton")
    made = {
        f"{inside}/config.pbtxt": render("triton/config.pbtxt", values, header=header),
        "client.py": render("triton/client.py", values, header=header),
        "README.md": render("triton/README.md", values, header=header),
    }
    return made | {name: File(content=content) for name, content in model_files(source, model).items()}
