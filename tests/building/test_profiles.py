"""Sizes on the command line: they give a profile that the network can run, or a usage error."""

from types import SimpleNamespace

import pytest
from builds import MODEL
from hypothesis import given
from hypothesis import strategies as st
from outcomes import files

from gpsr_deploy import cli
from gpsr_deploy.cli import build as cli_build
from gpsr_deploy.cli import main
from gpsr_deploy.errors import UsageError
from gpsr_deploy.model_files import engine as engine_file
from gpsr_deploy.spec import Profile


def profile(*arguments, multiple_of=3):
    return cli_build.profile_of(cli.parser().parse_args(["build", "m.onnx", *arguments]), multiple_of)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ([], ((3, 3), (240, 240), (960, 960), 4)),
        (["--min", "1x2"], ((3, 3), (240, 240), (960, 960), 4)),
        (["--opt", "100x200"], ((3, 3), (102, 201), (960, 960), 4)),
        (["--opt", "1000x1"], ((3, 3), (1002, 3), (1002, 960), 4)),
        (["--max", "100x2000"], ((3, 3), (102, 240), (102, 2001), 4)),
        (["--min", "300x300"], ((300, 300), (300, 300), (960, 960), 4)),
        (["--min", "2000x1"], ((2001, 3), (2001, 240), (2001, 960), 4)),
        (["--batch", "1"], ((3, 3), (240, 240), (960, 960), 1)),
        (
            ["--minShapes=lr:1x3x48x48", "--optShapes=lr:8x3x96x96", "--maxShapes=lr:8x3x192x192"],
            ((48, 48), (96, 96), (192, 192), 8),
        ),
        (["--optShapes=lr:2x3x30x30", "--batch", "2"], ((3, 3), (30, 30), (960, 960), 2)),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_sizes_are_rounded_up_and_those_not_asked_for_fit_the_others(arguments, expected):
    found = profile(*arguments)
    assert (found.min, found.opt, found.max, found.batch) == expected


@pytest.mark.parametrize(
    "arguments",
    [
        "--min 300x300 --max 200x200",
        "--opt 300x300 --max 200x300",
        "--min 20x20 --opt 30x10",
        "--max 65537x3",
        "--batch 1025",
        "--batch 2 --maxShapes=lr:4x3x96x96",
        "--minShapes=lr:5x3x48x48",
        "--minShapes=lr:5x3x48x48 --batch 4",
        "--minShapes=input:1x3x48x48",
        "--minShapes=lr:1x1x48x48",
        "--minShapes=lr:0x3x48x48",
        "--minShapes=lr:1x3x0x48",
        "--minShapes=lr:1x48x48x3",
        "--min 0x3",
        "--min -3x3",
        "--min 3",
        "--min 3x3x3",
        "--min ٣x٣",
        "--batch 0",
        "--gpu sm_89",
        "--gpu 8.9,",
        "--gpu 8,9",
        "--optimization-level 6",
        "--device cpu",
        "--runtime onnxruntime",
        "--batch 2 --optShapes=lr:2x3x96x96 --maxShapes=lr:4x3x96x96",
    ],
)  # fmt: skip
def test_sizes_that_contradict_each_other_are_a_usage_error(arguments, tmp_path, capsys):
    assert main(["build", str(MODEL), "-o", str(tmp_path / "x.plan"), *arguments.split()]) == 2
    assert "error[2]" in capsys.readouterr().err
    assert files(tmp_path) == []


def test_trtexecs_shapes_of_rising_batches_give_the_largest(tmp_path):
    arguments = ["--minShapes=lr:1x3x48x48", "--optShapes=lr:2x3x96x96", "--maxShapes=lr:4x3x96x99", "--gpu", "8.9"]
    assert main(["build", str(MODEL), "-o", str(tmp_path / "x.plan"), *arguments]) == 0
    profile = engine_file.read(tmp_path / "x.plan").spec.profile
    assert profile == Profile(min=(48, 48), opt=(96, 96), max=(96, 99), batch=4)


side = st.integers(1, 70_000)
a_size = st.none() | st.tuples(side, side)


@given(st.integers(1, 1024), a_size, a_size, a_size, st.none() | st.integers(1, 2000))
def test_sizes_give_a_profile_that_the_network_can_run_or_a_usage_error(step, low, best, high, batch):
    options = SimpleNamespace(min=low, opt=best, max=high, batch=batch)
    try:
        found = cli_build.profile_of(options, step)
    except UsageError:
        assert low or best or high or batch
        return
    assert isinstance(found, Profile)
    found.require_multiples(step)
    for asked, got in ((low, found.min), (best, found.opt), (high, found.max)):
        assert asked is None or all(0 <= side - wanted < step for wanted, side in zip(asked, got, strict=True))
