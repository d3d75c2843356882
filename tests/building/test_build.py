"""Engines are built for real with TensorRT-RTX, which needs no GPU; and what goes wrong leaves no engine."""

import copy
import dataclasses
import json
import math
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import onnx
import plans
import pytest
from hypothesis import given
from hypothesis import strategies as st
from plans import GPUS, PROFILE, Changed
from project import SUPPORT

from gpsr_deploy import cli, models
from gpsr_deploy.backends import flavours
from gpsr_deploy.building.build import build, supported_capabilities, weight_types
from gpsr_deploy.cli import build as cli_build
from gpsr_deploy.cli import main
from gpsr_deploy.errors import ModelRefused, OutOfMemory, UsageError
from gpsr_deploy.model_files import cache as cache_file
from gpsr_deploy.model_files import engine as engine_file
from gpsr_deploy.model_files import onnx as onnx_file
from gpsr_deploy.spec import Profile

MODEL = models.shipped(4)
SIZES = ["--min", "3x3", "--opt", "48x60", "--max", "96x120", "--batch", "2"]
COMMAND = [sys.executable, "-m", "gpsr_deploy", "build", str(MODEL), *SIZES]


@pytest.fixture(scope="module")
def trt():
    return flavours.module_of("tensorrt-rtx")


@pytest.fixture(scope="module")
def model():
    return onnx_file.read(MODEL)


def made(model, trt, **changes):
    """`build` with what these tests use."""
    asked = {"runtime": "tensorrt-rtx", "compute_capabilities": GPUS} | changes
    return build(model, asked.pop("profile", PROFILE), trt=trt, **asked)


def giving(content):
    """TensorRT-RTX that gives `content` as the plan, and does not build."""
    return plans.with_builder(lambda _builder: {"build_serialized_network": lambda network, config: content})


def install(monkeypatch, trt):
    """Makes `trt` what is installed as either TensorRT."""
    monkeypatch.setattr(flavours, "module_of", lambda runtime: trt)


def files(folder):
    return sorted(path.name for path in folder.iterdir())


def one_line(capsys, code):
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    assert captured.err.startswith(f"error[{code}]")
    return captured.err


# --- real engines ---


def half(nano, path, *, kept=()):
    """Exports the random network in fp16, but for the branches `kept`."""
    import to_onnx
    from gpsr_deploy.network.folds import fold

    spec = dataclasses.replace(plans.SR, dtype="fp16")
    path.write_bytes(onnx_file.stamped(to_onnx.to_graph(fold(copy.deepcopy(nano)), "fp16", kept=kept), spec))
    return path


def built_and_inspected(path, folder, capsys):
    """What `inspect --json` says of the engine that `build` makes of the model at `path`; the same as `build --json`."""
    target = folder / "x.plan"
    assert main(["build", str(path), "-o", str(target), "--gpu", ",".join(GPUS), *SIZES, "--json"]) == 0
    told = capsys.readouterr()
    assert main(["inspect", str(target), "--json"]) == 0
    found = capsys.readouterr()
    assert found.out == told.out
    assert "not compared with the model yet: no GPU here" in told.err
    assert files(folder) == ["x.plan", "x.plan.json"]
    return json.loads(found.out)


def require_true(found, path, folder):
    """What holds of every engine, by its files."""
    model = onnx_file.read(path)
    engine = engine_file.read(folder / "x.plan")
    assert found["sha256"] == engine.spec.plan_sha256
    assert found["onnx_sha256"] == model.sha256
    assert (found["name"], found["scale"], found["dtype"]) == (model.spec.name, model.spec.scale, model.spec.dtype)
    assert (found["params"], found["macs_720p"]) == (model.costs.params, model.costs.macs_720p)
    assert found["checkpoint_sha256"] == model.spec.checkpoint_sha256
    assert found["profile"] == {"min": [3, 3], "opt": [48, 60], "max": [96, 120], "batch": 2}
    assert (found["runtime"], found["compute_capabilities"]) == ("tensorrt-rtx", list(GPUS))
    header = engine_file.header(engine.content)
    assert (header.version, header.compute_capabilities) == (found["runtime_version"], GPUS)
    assert found["parity"] is None


@pytest.mark.parametrize("path", models.files(), ids=lambda path: path.stem)
def test_every_model_that_ships_becomes_an_engine(path, tmp_path, capsys):
    found = built_and_inspected(path, tmp_path, capsys)
    require_true(found, path, tmp_path)
    assert found["weights"] == {found["dtype"]: 1.0}


@pytest.mark.slow
def test_an_fp16_model_becomes_an_fp16_engine(nano, tmp_path_factory, tmp_path, capsys):
    """Also one that has just been exported."""
    path = half(nano, tmp_path_factory.mktemp("half") / "nano_fp16.onnx")
    found = built_and_inspected(path, tmp_path, capsys)
    require_true(found, path, tmp_path)
    assert (found["dtype"], found["weights"]) == ("fp16", {"fp16": 1.0})


@pytest.mark.slow
def test_a_mixed_engine_tells_of_both_shares(nano, trt, tmp_path):
    model = onnx_file.read(half(nano, tmp_path / "mixed.onnx", kept=["tail"]))
    graph = onnx.load_model_from_string(model.content).graph
    weights = {tensor.name: tensor for tensor in graph.initializer}
    counts = {onnx.TensorProto.FLOAT: 0, onnx.TensorProto.FLOAT16: 0}
    for node in graph.node:
        if node.op_type == "Conv":
            kernel = weights[node.input[1]]
            counts[kernel.data_type] += math.prod(kernel.dims)
    share = counts[onnx.TensorProto.FLOAT] / sum(counts.values())
    assert 0 < share < 0.5
    _, spec = made(model, trt)
    assert spec.weights == {"fp32": pytest.approx(share), "fp16": pytest.approx(1 - share)}


def test_all_gpus_are_the_default_and_their_order_is_the_headers(model, trt, tmp_path, capsys):
    known = supported_capabilities(trt)
    assert set(known) == set(engine_file.CAPABILITY_BITS.values())
    assert main(["build", str(MODEL), "-o", str(tmp_path / "x.plan"), *SIZES, "-q"]) == 0
    assert engine_file.read(tmp_path / "x.plan").spec.compute_capabilities == known
    assert capsys.readouterr().err == ""
    _, spec = made(model, trt, compute_capabilities=("12.0", "7.5"))
    assert spec.compute_capabilities == ("7.5", "12.0")


def test_tf32_which_is_on_by_default_is_off(model, trt):
    configs = []

    def keep(builder):
        def config():
            configs.append(builder.create_builder_config())
            assert configs[-1].get_flag(trt.BuilderFlag.TF32)
            return configs[-1]

        return {
            "create_builder_config": config,
            "build_serialized_network": lambda network, config: plans.plan(),
        }

    made(model, plans.with_builder(keep), optimization_level=1)
    (config,) = configs
    assert not config.get_flag(trt.BuilderFlag.TF32)
    assert config.builder_optimization_level == 1


def test_the_network_is_strongly_typed_and_asked_for_its_weights(model, trt):
    networks = []

    def keep(builder):
        def network(flags):
            networks.append(builder.create_network(flags))
            return networks[-1]

        return {"create_network": network, "build_serialized_network": lambda network, config: plans.plan()}

    made(model, plans.with_builder(keep))
    assert networks[0].get_flag(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED)
    assert weight_types(networks[0], trt) == {"fp32": 1.0}


# --- progress ---


def test_progress_goes_from_0_to_1_by_phases_with_names(model, trt):
    told = []
    made(model, trt, on_progress=lambda phase, share: told.append((phase, share)))
    shares = [share for _, share in told]
    assert (shares[0], shares[-1]) == (0.0, 1.0)
    assert shares == sorted(shares)
    assert len(set(shares)) > 10
    names = {phase for phase, _ in told}
    assert len(names) > 3
    assert all(name and name.isprintable() for name in names)


def progress_of(model, script):
    """What is told of a build that calls its monitor as `script` does."""

    def run(network, config):
        script(config.progress_monitor)
        return plans.plan()

    told = []
    made(
        model,
        plans.with_builder(lambda _builder: {"build_serialized_network": run}),
        on_progress=lambda *what: told.append(what),
    )
    shares = [share for _, share in told]
    assert shares == sorted(shares)
    assert all(0 <= share <= 1 for share in shares)
    return told


def test_an_inner_phase_is_a_share_of_its_parents_step(model):
    def script(monitor):
        monitor.phase_start("all", None, 2)
        monitor.phase_start("first", "all", 4)
        assert monitor.step_complete("first", 0)
        monitor.phase_finish("first")
        monitor.step_complete("all", 0)
        monitor.phase_start("second", "all", 2)
        monitor.step_complete("second", 0)
        monitor.phase_finish("second")
        monitor.phase_finish("all")

    shares = [share for _, share in progress_of(model, script)]
    assert shares == [0, 0, 0.125, 0.5, 0.5, 0.5, 0.75, 1, 1]


@pytest.mark.parametrize(
    "script",
    [
        lambda monitor: monitor.phase_start("own parent", "own parent", 3),
        lambda monitor: [monitor.phase_start("a", "b", 2), monitor.phase_start("b", "a", 2), monitor.step_complete("a", 0)],
        lambda monitor: [monitor.step_complete("never begun", 3), monitor.phase_finish("never begun")],
        lambda monitor: monitor.phase_start("of an unknown parent", "nobody", 1),
        lambda monitor: [monitor.phase_start("no steps", None, 0), monitor.step_complete("no steps", 0)],
        lambda monitor: [monitor.phase_start("more", None, 2), monitor.step_complete("more", 9), monitor.phase_finish("more")],
        lambda monitor: [monitor.phase_start("twice", None, 2)] * 2 + [monitor.phase_finish("twice")] * 2,
    ],
    ids=["itself", "circle", "unknown", "orphan", "empty", "more", "twice"],
)  # fmt: skip
def test_phases_in_any_order_end_and_stay_within_0_and_1(model, script):
    progress_of(model, script)


def test_phases_may_come_from_several_threads(model):
    """A phase may end while another thread asks for its parent; an error there would end the process."""
    errors = []

    def script(monitor):
        together = threading.Barrier(4)

        def phases():
            try:
                together.wait()
                for number in range(60):
                    monitor.phase_start("outer", None, 300)
                    monitor.phase_start(f"inner {number % 3}", "outer", 3)
                    monitor.step_complete(f"inner {number % 3}", 0)
                    monitor.step_complete("outer", number)
                    monitor.phase_finish(f"inner {number % 3}")
                monitor.phase_finish("outer")
            except Exception as error:  # noqa: BLE001
                errors.append(error)

        threads = [threading.Thread(target=phases) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    switch = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        for _ in range(20):
            progress_of(model, script)  # which asks that the share never goes back
    finally:
        sys.setswitchinterval(switch)
    assert errors == []


@pytest.mark.parametrize("kind", [ValueError, KeyboardInterrupt])
def test_what_goes_wrong_in_on_progress_ends_the_build_and_is_raised(model, kind):
    """The real build stops at its next step, and gives nothing."""
    results = []

    def keep(builder):
        def run(network, config):
            results.append(builder.build_serialized_network(network, config))
            return results[-1]

        return {"build_serialized_network": run}

    def fail(phase, share):
        if share > 0:
            raise kind("from the caller")

    with pytest.raises(kind, match="from the caller"):
        made(model, plans.with_builder(keep), on_progress=fail)
    assert results == [None]


def test_a_build_that_is_given_up_is_told_at_its_next_step(model):
    answers = []

    def run(network, config):
        config.progress_monitor.phase_start("all", None, 1000)
        for step in range(1000):
            answers.append(config.progress_monitor.step_complete("all", step))
            if not answers[-1]:
                return None
            time.sleep(0.01)
        return plans.plan()

    def fail(phase, share):
        raise ValueError("enough")

    with pytest.raises(ValueError, match="enough"):
        made(model, plans.with_builder(lambda _builder: {"build_serialized_network": run}), on_progress=fail)
    assert answers[-1] is False
    assert len(answers) < 500


# --- what TensorRT says no to, some of it in silence ---


def failing(error):
    def fail(*_arguments):
        raise error

    return plans.with_builder(lambda _builder: {"build_serialized_network": fail})


def parser_that(*, parses, errors=(), outputs=None):
    """TensorRT-RTX whose parser answers so; with `outputs` its network has as many."""

    trt = flavours.module_of("tensorrt-rtx")

    def parser(network, log):
        real = trt.OnnxParser(network.real, log)
        listed = [SimpleNamespace(desc=lambda text=text: text) for text in errors]
        return SimpleNamespace(
            parse=lambda content: real.parse(content) and parses,
            num_errors=len(errors),
            get_error=lambda index: listed[index],
        )

    def network_with(builder):
        return lambda flags: Changed(
            builder.create_network(flags), **({} if outputs is None else {"num_outputs": outputs})
        )

    return Changed(plans.with_builder(lambda builder: {"create_network": network_with(builder)}), OnnxParser=parser)


def profile_that(**changes):
    return plans.with_builder(
        lambda builder: {
            "create_optimization_profile": lambda: Changed(builder.create_optimization_profile(), **changes)
        }
    )


SHAPES = [(1, 3, 3, 3), (2, 3, 48, 60), (2, 3, 96, 120)]

FAILURES = {
    "no plan": (lambda: giving(None), "cannot build the engine"),
    "an empty plan": (lambda: giving(b""), "no TensorRT plan"),
    "something else": (lambda: giving(b"\x08\x08" * 1000), "no TensorRT plan"),
    "half a plan": (lambda: giving(plans.plan()[:-9]), "as its header says"),
    "a plan for fewer GPUs": (lambda: giving(plans.plan(GPUS[:2])), r"for GPUs of 8\.6, 8\.9\. Expected 8\.6, 8\.9, 12\.0, as asked"),
    "a plan for other GPUs": (lambda: giving(plans.plan((*GPUS, "12.1"))), "as asked"),
    "a plan for no GPU": (lambda: giving(plans.plan(())), "no compute capability. Expected 8.6"),
    "a plan of the other TensorRT": (lambda: giving(plans.plan(magic=b"ftrt")), "as asked"),
    "a plan of another release": (lambda: giving(plans.plan(version=(1, 6, 0, 1))), "header says tensorrt-rtx 1.6.0.1"),
    "an exception": (lambda: failing(RuntimeError("bad\x1b[2J")), r"failed in the build: bad\\x1b"),
    "a parser's no": (lambda: parser_that(parses=False, errors=["node 7\nis odd", "b"]), r"cannot read the model: node 7\\nis odd"),
    "a parser's no without a word": (lambda: parser_that(parses=False), "cannot read the model: it does not say why"),
    "a parser's yes with an error": (lambda: parser_that(parses=True, errors=["node 7"]), "node 7"),
    "two outputs": (lambda: parser_that(parses=True, outputs=2), "cannot read the model"),
    "no output": (lambda: parser_that(parses=True, outputs=0), "cannot read the model"),
    "no shapes taken": (lambda: profile_that(set_shape=lambda *shapes: None), "does not take the profile"),
    "other shapes taken": (lambda: profile_that(get_shape=lambda name: [*SHAPES[:2], (1, 3, 96, 120)]), "does not take the profile"),
    "a profile's -1": (lambda: plans.with_config(lambda _: {"add_optimization_profile": lambda shapes: -1}), "does not take the profile"),
    "a GPU's no": (lambda: plans.with_config(lambda _: {"set_compute_capability": lambda gpu, index: index < 1}), r"does not take --gpu 8\.9"),
}  # fmt: skip


@pytest.mark.parametrize("case", FAILURES)
def test_a_failed_build_is_5_in_one_line_and_leaves_nothing(case, tmp_path, capsys, monkeypatch):
    make, words = FAILURES[case]
    install(monkeypatch, make())
    assert main(["build", str(MODEL), "-o", str(tmp_path / "x.plan"), "--gpu", ",".join(GPUS), *SIZES]) == 5
    assert re.search(words, one_line(capsys, 5))
    assert files(tmp_path) == []


@pytest.mark.parametrize("case", ["no plan", "a plan for fewer GPUs", "a GPU's no"])
def test_a_failed_build_leaves_the_old_engine(case, tmp_path, monkeypatch):
    install(monkeypatch, FAILURES[case][0]())
    path = plans.write(tmp_path)
    before = engine_file.read(path)
    assert main(["build", str(MODEL), "-o", str(path), "--gpu", ",".join(GPUS), *SIZES, "--overwrite"]) == 5
    assert engine_file.read(path) == before
    assert files(tmp_path) == ["x.plan", "x.plan.json"]


def test_a_build_without_memory_is_6(model, tmp_path, capsys, monkeypatch):
    with pytest.raises(OutOfMemory):
        made(model, failing(MemoryError()))
    install(monkeypatch, failing(MemoryError()))
    assert main(["build", str(MODEL), "-o", str(tmp_path / "x.plan"), *SIZES]) == 6
    one_line(capsys, 6)
    assert files(tmp_path) == []


def test_the_doubles_build_where_they_change_nothing(model):
    """So that what they change is what fails."""
    for double in (giving(plans.plan()), parser_that(parses=True), plans.with_config(lambda _: {})):
        plan, spec = made(model, double)
        assert engine_file.header(plan).compute_capabilities == spec.compute_capabilities == GPUS


@pytest.mark.parametrize("sizes", [{"min": (4, 4)}, {"opt": (48, 61)}, {"max": (97, 120)}], ids=str)
def test_sizes_that_the_network_cannot_run_are_refused_before_tensorrt_is_touched(model, sizes):
    with pytest.raises(ModelRefused, match="multiples of 3"):
        made(model, None, profile=dataclasses.replace(PROFILE, **sizes))


def test_an_unknown_gpu_is_a_usage_error(model, trt):
    for gpus in (("9.0",), ("8.9", "9.9"), ("8.9", "0.0")):
        with pytest.raises(UsageError, match=r"Expected compute capabilities .* 7\.5, 8\.0, 8\.6, 8\.9, 12\.0, 12\.1"):
            made(model, trt, compute_capabilities=gpus)


def test_a_model_without_content_is_refused(model, trt):
    """The parser says yes to nothing at all."""
    with pytest.raises(ModelRefused, match="cannot read the model"):
        made(dataclasses.replace(model, content=b""), trt)
    with pytest.raises(ModelRefused, match="cannot read the model"):
        made(dataclasses.replace(model, content=model.content[:5000]), trt)


# --- the timing cache, which only TensorRT has ---


class TimingCaches:
    """A double of TensorRT with timing caches, over TensorRT-RTX; `takes` says which content it accepts."""

    def __init__(self, takes=lambda content: True, kept=b"timings"):
        self.began_with = []

        def create(content):
            self.began_with.append(content)
            return SimpleNamespace(serialize=lambda: kept, content=content)

        double = plans.with_config(
            lambda _: {
                "create_timing_cache": create,
                "set_timing_cache": lambda cache, ignore: not ignore and takes(cache.content),
            }
        )
        self.trt = Changed(
            double,
            Builder=lambda log: Changed(
                double.Builder(log),
                build_serialized_network=lambda network, config: plans.plan(magic=b"ftrt"),
            ),
        )

    def build(self, model, path):
        return made(model, self.trt, runtime="tensorrt", compute_capabilities=("8.9",), timing_cache=path)


def test_timings_are_kept_from_build_to_build(model, tmp_path):
    path = tmp_path / "timings"
    caches = TimingCaches()
    _, spec = caches.build(model, path)
    assert (spec.runtime, spec.compute_capabilities) == ("tensorrt", ("8.9",))
    assert cache_file.read(path) == b"timings"
    caches.build(model, path)
    assert caches.began_with == [b"", b"timings"]


def test_damaged_timings_and_those_of_another_gpu_are_made_anew(model, tmp_path):
    path = tmp_path / "timings"
    cache_file.write(path, b"others")
    path.write_bytes(path.read_bytes()[:-1])
    caches = TimingCaches()
    caches.build(model, path)
    assert caches.began_with == [b""]
    cache_file.write(path, b"others")
    caches = TimingCaches(takes=lambda content: content != b"others")
    caches.build(model, path)
    assert caches.began_with == [b"others", b""]
    assert cache_file.read(path) == b"timings"


def test_where_no_timings_are_taken_or_given_that_is_said_or_harmless(model, tmp_path):
    with pytest.raises(ModelRefused, match="no timing cache"):
        TimingCaches(takes=lambda content: False).build(model, tmp_path / "timings")
    TimingCaches(kept=None).build(model, tmp_path / "timings")
    assert files(tmp_path) == []


def test_timings_that_cannot_be_kept_do_not_fail_the_build(model, tmp_path):
    plan, _ = TimingCaches().build(model, tmp_path / "missing" / "timings")
    assert plan == plans.plan(magic=b"ftrt")


# --- sizes on the command line ---


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


# --- the command line, and what it leaves ---


@pytest.mark.parametrize("gpu", ["9.0", "8.9,9.0", "99.9"])
def test_an_unknown_gpu_is_2(gpu, tmp_path, capsys):
    assert main(["build", str(MODEL), "-o", str(tmp_path / "x.plan"), "--gpu", gpu]) == 2
    assert "--runtime tensorrt" in one_line(capsys, 2)
    assert files(tmp_path) == []


@pytest.mark.parametrize("name", ["x.plan", "x.plan.json"])
def test_an_output_that_exists_is_4_and_untouched(name, tmp_path, capsys):
    (tmp_path / name).write_bytes(b"precious")
    assert main(["build", str(MODEL), "-o", str(tmp_path / "x.plan"), *SIZES]) == 4
    assert "--overwrite" in one_line(capsys, 4)
    assert (tmp_path / name).read_bytes() == b"precious"
    assert files(tmp_path) == [name]


def test_overwrite_replaces_a_whole_engine_and_clears_what_dead_builds_left(tmp_path, monkeypatch):
    path = plans.write(tmp_path)
    (tmp_path / f".x.plan.{2**22 + 1}-0123abcd.tmp").write_bytes(b"of a dead build")
    content = plans.plan(body=b"new")
    install(monkeypatch, giving(content))
    assert main(["build", str(MODEL), "-o", str(path), "--gpu", ",".join(GPUS), *SIZES, "--overwrite", "-q"]) == 0
    assert engine_file.read(path).content == content
    assert files(tmp_path) == ["x.plan", "x.plan.json"]


@pytest.mark.parametrize("name", ["x.onnx", "x", "x.plan.json", "x.engine", ".plan"])
def test_an_output_of_another_kind_is_2(name, tmp_path, capsys):
    assert main(["build", str(MODEL), "-o", str(tmp_path / name), *SIZES]) == 2
    one_line(capsys, 2)
    assert files(tmp_path) == []


def test_what_is_written_is_never_what_is_read(tmp_path, capsys):
    for name in ("m.plan", "m.plan.json"):
        source = tmp_path / name
        source.write_bytes(MODEL.read_bytes())
        assert main(["build", str(source), "-o", str(tmp_path / "m.plan"), *SIZES, "--overwrite"]) == 2
        one_line(capsys, 2)
        assert source.read_bytes() == MODEL.read_bytes()
        assert files(tmp_path) == [name]
        source.unlink()


@pytest.mark.parametrize("name", ["m.onnx", "x.plan", "x.plan.json", "photo.jpg"])
def test_a_timing_cache_replaces_nothing_that_is_none(name, tmp_path, capsys, monkeypatch):
    shutil.copy(MODEL, tmp_path / "m.onnx")
    (tmp_path / "photo.jpg").write_bytes(b"\xff\xd8\xff\xe0" * 99)
    monkeypatch.chdir(tmp_path)
    arguments = ["build", "m.onnx", "-o", "x.plan", "--timing-cache", f"./{name}", "--runtime", "tensorrt", *SIZES]
    assert main(arguments) == 2
    one_line(capsys, 2)
    assert files(tmp_path) == ["m.onnx", "photo.jpg"]


def test_a_timing_cache_for_the_other_tensorrt_is_2(tmp_path, capsys):
    command = ["build", str(MODEL), "-o", str(tmp_path / "x.plan"), "--timing-cache", str(tmp_path / "t"), *SIZES]
    assert main([*command, "--runtime", "tensorrt-rtx"]) == 2
    assert "--timing-cache" in one_line(capsys, 2)
    assert files(tmp_path) == []


def test_the_default_output_is_the_models_name_here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    install(monkeypatch, giving(plans.plan()))
    assert main(["build", str(MODEL), "--gpu", ",".join(GPUS), "-q"]) == 0
    assert files(tmp_path) == ["gpsr_nano_x4.plan", "gpsr_nano_x4.plan.json"]


@pytest.mark.parametrize(
    ("name", "content", "code"),
    [
        ("m.onnx", b"", 5),
        ("m.onnx", b"not a model", 5),
        ("m.onnx", MODEL.read_bytes()[:100_000], 5),
        ("m.safetensors", b"\x02\0\0\0\0\0\0\0{}", 5),
        ("m.plan.onnx", plans.plan(), 5),
        ("missing/m.onnx", None, 3),
        (".", None, 3),
        ("/", None, 3),
        ("..", None, 3),
        ("", None, 3),
    ],
    ids=["empty", "junk", "cut", "safetensors", "plan", "missing", "here", "root", "above", "nothing"],
)
def test_what_is_no_model_is_refused_and_gives_nothing(name, content, code, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    if content is not None:
        Path(name).write_bytes(content)
    before = files(tmp_path)
    assert main(["build", name]) == code
    one_line(capsys, code)
    assert files(tmp_path) == before


def test_a_fifo_is_no_model_and_does_not_hang(tmp_path, capsys):
    os.mkfifo(tmp_path / "m.onnx")
    assert main(["build", str(tmp_path / "m.onnx"), "-o", str(tmp_path / "x.plan")]) == 3
    one_line(capsys, 3)


def test_tensorrt_without_a_gpu_is_5_and_names_what_builds_without_one(tmp_path, capsys, monkeypatch):
    without_gpu(monkeypatch)
    command = ["build", str(MODEL), "-o", str(tmp_path / "x.plan"), *SIZES]
    assert main([*command, "--runtime", "tensorrt"]) == 5
    line = one_line(capsys, 5)
    assert "NVIDIA GPU" in line
    assert "--runtime tensorrt-rtx" in line
    assert "an .onnx model" not in line
    assert main([*command, "--device", "cuda:0"]) == 5
    assert "no CUDA device" in one_line(capsys, 5)
    assert files(tmp_path) == []


@pytest.mark.parametrize(
    ("arguments", "extra"),
    [([], "[rtx]"), (["--runtime", "tensorrt-rtx"], "[rtx]"), (["--runtime", "tensorrt"], "[trt]")],
)
def test_what_is_not_installed_is_named_with_its_extra(arguments, extra, tmp_path, capsys, monkeypatch):
    with_gpu(monkeypatch)
    for name in ("tensorrt", "tensorrt_rtx"):
        monkeypatch.setitem(sys.modules, name, None)
    assert main(["build", str(MODEL), "-o", str(tmp_path / "x.plan"), *arguments, *SIZES]) == 5
    assert f"pip install gpsr-deploy{extra}" in one_line(capsys, 5)
    assert files(tmp_path) == []


# --- with a GPU, which is a double ---


class FakeCuda:
    """A GPU of compute capability 8.9."""

    def __init__(self, api, index=0):
        self.index, self.name, self.compute_capability = index, "NVIDIA Test 4090", "8.9"


def no_device():
    from cuda.bindings import runtime

    return SimpleNamespace(cudaGetDeviceCount=lambda: (runtime.cudaError_t.cudaErrorInsufficientDriver, None))


def without_gpu(monkeypatch):
    for module in ("gpsr_deploy.backends.cuda", "gpsr_deploy.building.make_engine"):
        monkeypatch.setattr(f"{module}.bindings", no_device)


def with_gpu(monkeypatch, wrong=lambda sr: sr):
    """A GPU on which engines compute what their model computes, made `wrong`. Returns the engines that were opened."""
    opened = []

    def open_plan(plan, spec, *, runtime, trt, cuda, cache=None):
        assert engine_file.header(plan).runtime == runtime == spec.runtime
        opened.append(plans.FakeEngine(spec, onnx_file.read(MODEL), wrong))
        return opened[-1]

    for module in ("gpsr_deploy.backends.cuda", "gpsr_deploy.building.make_engine"):
        monkeypatch.setattr(f"{module}.bindings", object)
        monkeypatch.setattr(f"{module}.Cuda", FakeCuda)
    monkeypatch.setattr("gpsr_deploy.backends.tensorrt.TensorRtBackend", open_plan)
    return opened


SMALL = ["--min", "3x3", "--opt", "9x9", "--max", "9x12", "--batch", "2"]


def build_with_gpu(folder, *arguments, gpus=GPUS):
    return main(["build", str(MODEL), "-o", str(folder / "x.plan"), "--gpu", ",".join(gpus), *SMALL, *arguments])


def test_an_engine_that_can_run_here_is_proved_at_once(tmp_path, capsys, monkeypatch):
    opened = with_gpu(monkeypatch)
    install(monkeypatch, giving(plans.plan()))
    assert build_with_gpu(tmp_path, "--json") == 0
    captured = capsys.readouterr()
    assert json.loads(captured.out)["parity"] | {"images": 0} == {
        "images": 0,
        "psnr_db": None,
        "max_level": 0,
        "share_off_by_one": 0.0,
        "gpu": "NVIDIA Test 4090",
    }
    assert "onnx~engine on NVIDIA Test 4090: equal" in captured.err
    assert [engine.closed for engine in opened] == [True]
    assert max(shape[0] for shape in opened[0].shapes) == 2


def off(level):
    return lambda sr: sr + np.float32(level / 255)


def broken(value):
    def wrong(sr):
        sr = sr.copy()
        sr.flat[7] = value
        return sr

    return wrong


@pytest.mark.parametrize("wrong", [off(2), broken(np.nan), np.zeros_like], ids=["levels", "nan", "black"])
def test_an_engine_that_computes_something_else_is_7_and_never_gets_its_name(wrong, tmp_path, capsys, monkeypatch):
    with_gpu(monkeypatch, wrong)
    install(monkeypatch, giving(plans.plan()))
    assert build_with_gpu(tmp_path) == 7
    assert "differs from its ONNX model" in one_line(capsys, 7)
    assert files(tmp_path) == []
    before = engine_file.read(plans.write(tmp_path))
    assert build_with_gpu(tmp_path, "--overwrite") == 7
    assert engine_file.read(tmp_path / "x.plan") == before


def test_an_engine_that_cannot_be_run_is_not_left_either(tmp_path, capsys, monkeypatch):
    def fail(sr):
        raise ModelRefused("CUDA failed with cudaErrorIllegalAddress")

    with_gpu(monkeypatch, fail)
    install(monkeypatch, giving(plans.plan()))
    assert build_with_gpu(tmp_path) == 5
    assert "IllegalAddress" in one_line(capsys, 5)
    assert files(tmp_path) == []


def test_an_engine_for_other_gpus_is_not_proved_and_that_is_said(tmp_path, capsys, monkeypatch):
    opened = with_gpu(monkeypatch)
    install(monkeypatch, giving(plans.plan(("12.0",))))
    assert build_with_gpu(tmp_path, gpus=("12.0",)) == 0
    assert "not compared with the model yet: this GPU is a 8.9" in capsys.readouterr().err
    assert (opened, engine_file.read(tmp_path / "x.plan").spec.parity) == ([], None)


def test_tensorrt_builds_for_the_gpu_that_is_here_and_no_other(tmp_path, capsys, monkeypatch):
    with_gpu(monkeypatch)
    content = plans.plan(magic=b"ftrt")
    double = Changed(giving(content), ComputeCapability=None)
    install(monkeypatch, double)
    assert build_with_gpu(tmp_path, "--runtime", "tensorrt", gpus=("8.6",)) == 2
    assert "8.9, this GPU's" in one_line(capsys, 2)
    assert files(tmp_path) == []
    assert build_with_gpu(tmp_path, "--runtime", "tensorrt", gpus=("8.9",)) == 0
    found = engine_file.read(tmp_path / "x.plan").spec
    assert (found.runtime, found.compute_capabilities) == ("tensorrt", ("8.9",))
    assert found.parity is not None


# --- faults in a process of its own ---


def run(*arguments, **options):
    return subprocess.run([*COMMAND, *map(str, arguments)], capture_output=True, text=True, timeout=120, **options)


def refused(result, code):
    assert (result.returncode, result.stderr.count("\n"), result.stdout) == (code, 1, ""), result.stderr
    assert result.stderr.startswith(f"error[{code}]")


@pytest.mark.parametrize("old", [False, True], ids=["new", "over an old one"])
def test_a_full_disk_is_4_and_leaves_what_was_there(old, tmp_path):
    target = tmp_path / "x.plan"
    before = engine_file.read(plans.write(tmp_path)) if old else None

    def limit():
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))

    refused(run("-o", target, "--overwrite", "-q", preexec_fn=limit), 4)
    if old:
        assert engine_file.read(target) == before
    assert files(tmp_path) == (["x.plan", "x.plan.json"] if old else [])


@pytest.mark.skipif(
    os.geteuid() == 0 and shutil.which("setpriv") is None, reason="root without setpriv may write anywhere"
)
def test_a_forbidden_folder_is_4_before_the_build(tmp_path):
    """The model is none, which would be 5."""
    locked = tmp_path / "locked"
    locked.mkdir(mode=0o555)
    (tmp_path / "none.onnx").write_bytes(b"none")
    drop = "-dac_override,-dac_read_search"
    plain = ["setpriv", f"--bounding-set={drop}", f"--inh-caps={drop}"] if os.geteuid() == 0 else []
    command = [
        *plain,
        sys.executable,
        "-m",
        "gpsr_deploy",
        "build",
        str(tmp_path / "none.onnx"),
        "-o",
        str(locked / "x.plan"),
    ]
    refused(subprocess.run(command, capture_output=True, text=True, timeout=120), 4)


@pytest.mark.parametrize(
    "name", ["missing/x.plan", "/proc/x.plan", "n" * 246 + ".plan"], ids=["missing", "proc", "long"]
)
def test_a_place_where_nothing_can_be_written_is_4(name, tmp_path, capsys, monkeypatch):
    install(monkeypatch, giving(plans.plan()))
    assert main(["build", str(MODEL), "-o", str(tmp_path / name), "--gpu", ",".join(GPUS), *SIZES]) == 4
    one_line(capsys, 4)
    assert files(tmp_path) == []


SLOWLY = """
import sys, time
sys.path.insert(0, sys.argv[1])
import plans
from gpsr_deploy.backends import flavours
from gpsr_deploy.cli import main

def slow(builder):
    def build(network, config):
        print("building", file=sys.stderr, flush=True)
        if sys.argv[2] == "asleep":
            time.sleep(60)
        for _ in range(200):
            plan = builder.build_serialized_network(network, config)
            if plan is None:
                break
        return plan
    return {"build_serialized_network": build}

double = plans.with_builder(slow)
flavours.module_of = lambda runtime: double
sys.exit(main(sys.argv[3:]))
"""


@pytest.mark.parametrize("how", ["asleep", "at work"])
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_a_build_within_two_seconds_and_leaves_nothing(number, code, how, tmp_path):
    """In a step of many seconds, and in one that asks now and then whether to go on."""
    (tmp_path / "x").mkdir()
    command = [sys.executable, "-c", SLOWLY, str(SUPPORT), how, *COMMAND[3:]]
    process = subprocess.Popen(
        [*command, "-o", str(tmp_path / "x" / "x.plan"), "-q"], stderr=subprocess.PIPE, text=True
    )
    assert process.stderr.readline() == "building\n"
    time.sleep(0.3)
    begin = time.monotonic()
    process.send_signal(number)
    _, stderr = process.communicate(timeout=20)
    assert (process.returncode, "Traceback" in stderr) == (code, False), stderr
    assert time.monotonic() - begin < 2
    assert files(tmp_path / "x") == []


@pytest.mark.slow
def test_a_kill_at_any_moment_leaves_the_old_engine_or_the_new_one(tmp_path):
    path = plans.write(tmp_path)
    finished = 0
    for delay in np.linspace(0.5, 4.0, 12):
        process = subprocess.Popen([*COMMAND, "-o", str(path), "--overwrite", "-q"])
        try:
            process.wait(timeout=delay)
            finished += 1
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        engine_file.read(path)
    assert finished
    assert run("-o", path, "--overwrite", "-q").returncode == 0
    assert files(tmp_path) == ["x.plan", "x.plan.json"]


@pytest.mark.slow
def test_two_builds_of_one_engine_leave_a_whole_one(tmp_path):
    for _ in range(3):
        processes = [
            subprocess.Popen([*COMMAND, "-o", str(tmp_path / "x.plan"), "--overwrite", "-q"]) for _ in range(2)
        ]
        assert [process.wait() for process in processes] == [0, 0]
        engine_file.read(tmp_path / "x.plan")
        assert files(tmp_path) == ["x.plan", "x.plan.json"]


AFTER_A_FAILURE = """
import gc, sys
from pathlib import Path
from gpsr_deploy.model_files import onnx as onnx_file
from gpsr_deploy.backends import flavours
from gpsr_deploy.building.build import build
from gpsr_deploy.errors import UsageError
from gpsr_deploy.spec import Profile

model, trt = onnx_file.read(Path(sys.argv[1])), flavours.module_of("tensorrt-rtx")
profile = Profile(min=(3, 3), opt=(24, 24), max=(24, 24), batch=1)

messages = flavours.messages

def collecting(trt):
    logger = messages(trt)

    class Collecting(type(logger)):
        collected = False

        def log(self, severity, message):
            if not self.collected:  # the builder that is being made is the first to log
                self.collected = True
                gc.collect()  # which may come wherever Python allocates
            super().log(severity, message)

    return Collecting()

def made(gpu):
    return build(model, profile, runtime="tensorrt-rtx", trt=trt, compute_capabilities=[gpu])

made("8.9")
gc.disable()
for _ in range(3):
    try:
        made("9.9")
    except UsageError as error:
        error.myself = error  # as any caller may keep an error: nobody but the collector ends this
flavours.messages = collecting
plan, _ = made("8.9")
print(len(plan) > 100000)
"""


def test_a_build_after_one_that_failed_does_not_wait_for_what_that_left(tmp_path):
    """TensorRT logs with its lock held, and takes it to free a builder: one that the collector finds then waits for ever."""
    command = [sys.executable, "-c", AFTER_A_FAILURE, str(MODEL)]
    ended = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True, timeout=60)
    assert ended.stdout == "True\n"
