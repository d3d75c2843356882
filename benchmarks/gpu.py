"""Parity and speed on this machine's GPU, as a Markdown table: engines, ONNX Runtime and torch, interleaved in one run.

    python benchmarks/gpu.py [MODEL.onnx ...] [--size 240x240] [--rounds 50]

For each model: the engines that can be built for this GPU (fp32, and fp16 where MODEL_fp16.onnx lies beside it), ONNX
Runtime on CUDA, and torch on CUDA where the weights lie in weights/. Parity is against ONNX Runtime on the CPU. Fails
where there is no GPU, and says what could not be run.
"""

from __future__ import annotations

import argparse
import contextlib
import tempfile
from pathlib import Path

from gpsr_deploy import models
from gpsr_deploy.backends import Backend, flavours, open_backend
from gpsr_deploy.backends.cuda import Cuda, bindings
from gpsr_deploy.building.build import supported_capabilities
from gpsr_deploy.building.make_engine import installed, make_engine
from gpsr_deploy.cli import output, program
from gpsr_deploy.cli.arguments import height_width, positive
from gpsr_deploy.errors import BackendUnavailable, ParityFailed
from gpsr_deploy.model_files import onnx as onnx_file
from gpsr_deploy.proof import bench, parity
from gpsr_deploy.spec import ENGINE_RUNTIMES, Profile

ROOT = Path(__file__).parent.parent


def contestants(
    model: Path, size: tuple[int, int], folder: Path, gpu: Cuda, stack: contextlib.ExitStack
) -> dict[str, Backend]:
    """Every way to run `model` on the GPU, opened; what is not installed, or not for this GPU, is said on stderr.

    Raises BackendUnavailable where no engine is among them, and whatever an engine fails with that could be built.
    """
    found: dict[str, Backend] = {}
    half = model.with_name(f"{model.stem}_fp16.onnx")
    profile = Profile(min=(3, 3), opt=size, max=size, batch=1)

    def add(name: str, path: Path) -> None:
        try:
            found[name] = stack.enter_context(open_backend(path, device="cuda"))
        except BackendUnavailable as error:
            output.say(f"not run, {name}: {error}")

    for graph in filter(Path.exists, (model, half)):
        for runtime in installed():
            name = f"{graph.stem} {runtime}"
            supported = supported_capabilities(flavours.module_of(runtime))
            if supported and gpu.compute_capability not in supported:
                output.say(
                    f"not run, {name}: it builds for {', '.join(supported)}, and this GPU is a {gpu.compute_capability}"
                )
                continue
            make_engine(onnx_file.read(graph), folder / f"{name}.plan", profile, runtime=runtime)
            add(name, folder / f"{name}.plan")
        add(f"{graph.stem} onnxruntime", graph)
    add(f"{model.stem} torch", ROOT / "weights" / f"{model.stem}.safetensors")
    if not any(backend.runtime in ENGINE_RUNTIMES for backend in found.values()):
        raise BackendUnavailable(
            "no TensorRT that is installed builds for this GPU",
            expected="one, to measure engines",
            remedy="pip install gpsr-deploy[trt]",
        )
    return found


def table(model: Path, size: tuple[int, int], gpu: Cuda, *, rounds: int) -> list[str]:
    """Lines of Markdown: time, pictures per second, TFLOP/s, share of copies, memory and parity of each contestant.

    Raises ParityFailed where one does not compute what the others compute.
    """
    lines = []
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        found = contestants(model, size, Path(folder), gpu, stack)
        reference = stack.enter_context(open_backend(model, device="cpu"))
        batch = bench.photographs(size, batch=1)
        pictures = parity.photographs(size)
        measured = bench.measure(list(found.values()), batch, rounds=rounds, warmup=5)
        work = bench.work_of(model)
        for (name, backend), runs in zip(found.items(), measured, strict=True):
            figures = bench.figures(model, backend, runs, work=work, size=size, batch=1)
            agreement = parity.backends(backend, reference, pictures).agreement()
            least = parity.MIN_PSNR_DB["fp16" if "_fp16" in name else "fp32"]
            if not parity.Tolerance(min_psnr_db=least).accepts(agreement):
                raise ParityFailed(
                    f"{name}: {agreement.psnr_db:.1f} dB, {agreement.max_level} levels, {agreement.non_finite} not finite",
                    expected=f"at least {least:g} dB and at most 1 level from ONNX Runtime on the CPU",
                )
            copies = "-" if figures.copies_share is None else f"{figures.copies_share:.0%}"
            memory = "-" if figures.peak_mib is None else f"{figures.peak_mib:.0f}"
            lines.append(
                f"| {name} | {figures.ms_median:.2f} | {figures.ms_p95:.2f} | {figures.fps:.1f} | {figures.tflops:.2f} "
                f"| {copies} | {memory} | {agreement.psnr_db:.1f} dB, {agreement.max_level} level |"
            )
    return lines


def main(arguments: list[str]) -> int:
    """Prints the table; returns the exit code. Raises BackendUnavailable where there is no GPU."""
    parser = argparse.ArgumentParser(description="Parity and speed on this machine's GPU.")
    parser.add_argument("models", type=Path, nargs="*", metavar="MODEL.onnx", help="default: those that ship, by scale")
    parser.add_argument(
        "--size", type=height_width, default=(240, 240), metavar="HxW", help="LR pixels (default 240x240)"
    )
    parser.add_argument("--rounds", type=positive, default=50)
    options = parser.parse_args(arguments)
    gpu = Cuda(bindings())
    output.text(
        f"{gpu.name} (compute capability {gpu.compute_capability}), {options.size[0]}x{options.size[1]} LR pixels, "
    )
    output.text(f"{options.rounds} rounds in turns, copies included; parity against ONNX Runtime on the CPU\n")
    output.text("| | median ms | 95 % ms | pictures/s | TFLOP/s | copies | MiB | parity |")
    output.text("|---|---|---|---|---|---|---|---|")
    for model in options.models or [models.shipped(scale) for scale in models.SHIPPED]:
        for line in table(model, options.size, gpu, rounds=options.rounds):
            output.text(line)
    return 0


if __name__ == "__main__":
    program.run(main)
