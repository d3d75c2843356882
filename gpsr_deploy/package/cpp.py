"""The C and C++ library as sources, with a model, an example and the CMake project that builds both."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from gpsr_deploy.errors import UsageError
from gpsr_deploy.package.source import Source, facts, model_files
from gpsr_deploy.package.template import File, render

PARTS = ("CMakeLists.txt", "cmake", "examples", "include", "src")
"""Of embed/cpp; its tests are tests of gpsr-deploy. pyproject.toml puts the same into the wheel."""


def sources() -> Path:
    """Where the sources of the C++ library lie: in the installed package, or in the checkout around it.

    Raises UsageError where they were left out.
    """
    here = Path(__file__).parent
    for folder in (here / "cpp", here.parent.parent / "embed" / "cpp"):
        if (folder / "CMakeLists.txt").is_file():
            return folder
    raise UsageError("the C++ sources are not installed", remedy="pip install --force-reinstall gpsr-deploy")


def files(source: Source) -> dict[str, File]:
    """By name; what lies in `gpsr/` is as in gpsr-deploy, and knows no model."""
    engine = source.engine
    values = {
        "FILE": source.file,
        "SCALE": source.sr.scale,
        "RUNTIME": "OpenVINO" if engine is None else engine.runtime,
        "CONFIGURE": ("-DOpenVINO_DIR=DIR/cmake" if engine is None else "-DGPSR_OPENVINO=OFF -DGPSR_TENSORRT_ROOT=DIR"),
        "WHERE": (
            "DIR is the folder of the Python package openvino (pip install openvino), or runtime of an OpenVINO SDK"
            if engine is None
            else f"DIR/include/NvInfer.h and DIR/lib are those of {engine.runtime} "
            f"{'.'.join(engine.runtime_version.split('.')[:3])}, which built the engine, and the toolkit of CUDA is there"
        ),
        "TRIED": (
            "Built and run on a CPU by tests of gpsr-deploy."
            if engine is None
            else "Unrun on a GPU: the tests of gpsr-deploy build and run this project with an ONNX model in OpenVINO."
        ),
    }
    header = facts(source, "cpp")
    made = {name: render(f"cpp/{name}", values, header=header) for name in ("CMakeLists.txt", "main.cpp", "README.md")}
    made |= {f"gpsr/{name}": File(content=content) for name, content in _library(sources())}
    return made | {name: File(content=content) for name, content in model_files(source, f"model/{source.file}").items()}


def _library(folder: Path) -> Iterator[tuple[str, bytes]]:
    for part in PARTS:
        found = folder / part
        for path in sorted(found.rglob("*")) if found.is_dir() else [found]:
            if path.is_file() and not path.name.startswith("."):
                yield path.relative_to(folder).as_posix(), path.read_bytes()
