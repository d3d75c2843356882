"""docs/embedding.md does what it says, built as users build."""

import os
import re
import subprocess

import numpy as np
import pytest
from cpp import BIN, require_equal_pixels
from project import ROOT

from gpsr_deploy import models
from gpsr_deploy.backends import open_backend
from gpsr_deploy.media import images
from gpsr_deploy.upscaling import upscale


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
    with open_backend(models.shipped(4), runtime="openvino", precision="auto") as backend:
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
        with open_backend(model, runtime="openvino", precision="auto") as backend:
            require_equal_pixels(
                np.frombuffer(ended.stdout, np.uint8).reshape(160, 200, 3), upscale.upscale(backend, sent).sr
            )
