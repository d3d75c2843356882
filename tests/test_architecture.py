"""What DESIGN holds the tree to, beyond the import contracts of pyproject.toml."""

import ast
import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest
from project import ROOT

PROGRAMS = ("train", "export", "engines")


def imported(path: Path) -> set[str]:
    """First parts of the names of all modules that a file imports."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names.add(node.module.partition(".")[0])
    return names


@pytest.mark.parametrize("program", PROGRAMS)
def test_programs_import_the_library_and_never_each_other(program: str):
    others = {path.stem for other in PROGRAMS if other != program for path in (ROOT / other).glob("*.py")} | set(
        PROGRAMS
    ) - {program}
    for path in (ROOT / program).glob("*.py"):
        assert not imported(path) & others, path


def test_the_library_imports_no_program():
    programs = {path.stem for program in PROGRAMS for path in (ROOT / program).glob("*.py")} | set(PROGRAMS)
    for path in (ROOT / "gpsr_deploy").rglob("*.py"):
        assert not imported(path) & programs, path


@pytest.mark.parametrize(
    "path", sorted((ROOT / "gpsr_deploy").rglob("*.py")), ids=lambda path: str(path.relative_to(ROOT))
)
def test_each_file_says_its_reason_in_its_first_line(path: Path):
    docstring = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))
    assert docstring
    assert docstring.splitlines()[0].endswith((".", ":"))


def loaded_after(code: str) -> set[str]:
    """Top-level modules that a fresh interpreter has loaded after `code`."""
    show = f"{code}\nimport sys\nprint(' '.join({{name.partition('.')[0] for name in sys.modules}}))"
    return set(subprocess.run([sys.executable, "-c", show], check=True, capture_output=True, text=True).stdout.split())


def test_importing_the_package_imports_no_runtime_and_not_even_numpy():
    assert not loaded_after("import gpsr_deploy") & {"torch", "onnxruntime", "openvino", "onnx", "pyvips", "numpy"}


def test_infer_never_imports_torch(tmp_path: Path):
    source = ROOT / "gpsr_deploy" / "samples" / "rocket.png"
    code = f"from gpsr_deploy.cli import main\nassert main(['infer', {str(source)!r}, '-o', {str(tmp_path / 'out.png')!r}, '-q']) == 0"
    assert not loaded_after(code) & {"torch", "onnxruntime", "skimage", "scipy", "cv2", "PIL"}


STANDARD = "import argparse, dataclasses, json, logging, pathlib, typing"
STANDARD_SECONDS = 0.07
"""CPU time that this took where help took 0.13 s. A machine that is slower, or shares its cores, takes longer for both."""


@pytest.mark.alone
def test_help_comes_within_a_fifth_of_a_second(tmp_path: Path):
    """Of CPU time, with byte code that an earlier run has kept, as pip keeps it."""
    environment = os.environ | {"PYTHONPYCACHEPREFIX": str(tmp_path), "PYTHONDONTWRITEBYTECODE": ""}

    def seconds(*words: str) -> float:
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([sys.executable, *words], check=True, capture_output=True, env=environment)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

    runs = [(seconds("-m", "gpsr_deploy", "--help"), seconds("-c", STANDARD)) for _ in range(5)]
    of_help, of_python = map(min, zip(*runs, strict=True))
    assert of_help < 0.2 * max(1.0, of_python / STANDARD_SECONDS)


GATES = {
    "model_files/gate.py": "the bytes of every model",
    "model_files/onnx.py": "ONNX",
    "model_files/checkpoint.py": "safetensors",
    "model_files/engine.py": "plans and sidecars",
    "model_files/cache.py": "timing and runtime caches",
}
OPENERS = {
    "load_model", "load_model_from_string", "ModelProto", "safe_open", "load_file", "deserialize", "read_model", "unpickle", "pickle",
    "InferenceSession", "deserialize_cuda_engine", "torch.load",
}  # fmt: skip
HANDED_BYTES = {
    "backends/onnxruntime.py": {"InferenceSession"},
    "backends/openvino.py": {"read_model"},
    "backends/trt_session.py": {"deserialize_cuda_engine", "deserialize"},
    "proof/layers.py": {"InferenceSession", "load_model_from_string", "ModelProto"},
}
"""Runtimes, which take a model's bytes from what the gate gave, never a path."""


def openers_in(path: Path) -> set[str]:
    """Names of calls by which a file might open a model."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call):
            name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            whole = ast.unparse(node.func)
            found |= {opener for opener in OPENERS if opener in (name, whole)}
    return found


def test_models_are_opened_by_the_gate_alone():
    """docs/security.md says so. Also: what a file stands for is handed on as bytes."""
    for path in sorted((ROOT / "gpsr_deploy").rglob("*.py")):
        place = path.relative_to(ROOT / "gpsr_deploy").as_posix()
        if place not in GATES:
            assert openers_in(path) <= HANDED_BYTES.get(place, set()), place


def test_no_program_unpickles():
    """But the converter of foreign weights, which lets torch build tensors only."""
    converter = ROOT / "export" / "from_pth.py"
    for path in [path for folder in ("gpsr_deploy", *PROGRAMS) for path in (ROOT / folder).rglob("*.py")]:
        if path != converter:
            assert not imported(path) & {"pickle", "dill", "joblib", "cloudpickle", "shelve", "marshal"}, path
            assert "torch.load" not in openers_in(path), path
    loads = [
        node
        for node in ast.walk(ast.parse(converter.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and ast.unparse(node.func) in ("torch.load", "pickle.load", "pickle.loads")
    ]
    assert [ast.unparse(node.func) for node in loads] == ["torch.load"]
    assert "weights_only=True" in ast.unparse(loads[0])
