"""An engine: a plan and a sidecar that belong together, by checksum and header, or a refusal that names what does not fit."""

import json
import os
import random
import re

import plans
import pytest
from engine_files import edit, refusal
from outcomes import files

from gpsr_deploy.cli import main
from gpsr_deploy.errors import InputUnreadable
from gpsr_deploy.model_files import engine as engine_file
from gpsr_deploy.spec import MAX_JSON_BYTES


def test_an_engine_is_read_as_it_was_written(tmp_path):
    for number, parity in enumerate((None, plans.PARITY)):
        path = plans.write(tmp_path, name=f"{number}.plan", parity=parity)
        found = engine_file.read(path)
        assert (found.content, found.spec, found.path) == (
            plans.plan(),
            plans.spec_of(plans.plan(), parity=parity),
            path,
        )
    assert files(tmp_path) == ["0.plan", "0.plan.json", "1.plan", "1.plan.json"]


def test_a_plan_of_tensorrt_is_known_by_its_magic_and_its_checksum(tmp_path):
    content = plans.plan(magic=b"ftrt", version=(11, 4, 0, 1))
    path = plans.write(tmp_path, content, runtime="tensorrt", runtime_version="11.4.0.1", compute_capabilities=("9.0",))
    assert engine_file.read(path).spec.compute_capabilities == ("9.0",)
    path.write_bytes(content[:-1])
    refusal(path, words="SHA-256")


@pytest.mark.parametrize("magic", [b"vtrt", b"ftrt"])
def test_a_plan_cut_anywhere_is_refused_by_its_checksum(tmp_path, magic):
    content = plans.plan(magic=magic)
    path = plans.write(tmp_path, content, runtime="tensorrt" if magic == b"ftrt" else "tensorrt-rtx")
    for cut in range(len(content)):
        path.write_bytes(content[:cut])
        assert "fetch both files again" in refusal(path, words="SHA-256").remedy


def test_a_real_plan_cut_or_flipped_is_refused_by_its_checksum(tmp_path):
    content, spec = plans.real()
    path = tmp_path / "real.plan"
    engine_file.write(path, content, spec)
    assert engine_file.read(path).content == content
    chance = random.Random(0)
    for _ in range(200):
        at, bit = chance.randrange(len(content)), 1 << chance.randrange(8)
        with path.open("r+b") as file:
            file.seek(at)
            file.write(bytes([content[at] ^ bit]))
            file.flush()
            refusal(path, words="SHA-256")
            file.seek(at)
            file.write(content[at : at + 1])
    assert engine_file.read(path).content == content
    for cut in [0, 1, 4, 63, 64, 65, 4096, *chance.sample(range(len(content)), 10), len(content) - 1]:
        path.write_bytes(content[:cut])
        refusal(path, words="SHA-256")
    path.write_bytes(content + b"\0")
    refusal(path, words="SHA-256")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"runtime": "tensorrt"}, r"header says tensorrt-rtx 1\.7\.1\.116 for 8\.6, 8\.9, 12\.0, its sidecar tensorrt 1"),
        ({"runtime_version": "1.7.2.116"}, r"header says tensorrt-rtx 1\.7\.1\.116 .* its sidecar tensorrt-rtx 1\.7\.2\.116"),
        ({"runtime_version": "1.8.1.116"}, "its sidecar tensorrt-rtx 1.8.1.116"),
        ({"runtime_version": "2.7.1.116"}, "its sidecar tensorrt-rtx 2.7.1.116"),
        ({"compute_capabilities": ["8.6", "8.9"]}, r"for 8\.6, 8\.9, 12\.0, its sidecar .* for 8\.6, 8\.9\."),
        ({"compute_capabilities": ["8.6", "8.9", "12.0", "12.1"]}, "its sidecar .* for 8.6, 8.9, 12.0, 12.1"),
        ({"compute_capabilities": ["9.0"]}, "for 9.0"),
        ({"plan_sha256": "00" * 32}, "SHA-256 .* Expected 0000000000000000"),
        ({"sr__scale": 3}, "scale = 3"),
        ({"sr__multiple_of": 5}, "halo"),
        ({"sr__name": "a\x1b[2J"}, "name"),
        ({"profile__min": [4, 4]}, "multiples of 3"),
        ({"profile__batch": 0}, "batch"),
        ({"costs__params": -1}, "costs"),
        ({"weights__fp32": 0.5}, "weights"),
        ({"onnx_sha256": "x"}, "onnx_sha256"),
        ({"parity": {}}, "sidecar's parity"),
        ({"extra": 1}, "holds"),
    ],
    ids=lambda value: "".join(value) if isinstance(value, dict) else None,
)  # fmt: skip
def test_an_edited_sidecar_is_refused_with_its_own_sentence(engine, change, words):
    edit(engine, **change)
    refusal(engine, words=words)


def test_another_build_of_the_same_release_is_the_same_release(engine):
    edit(engine, runtime_version="1.7.1.117")
    assert engine_file.read(engine).spec.runtime_version == "1.7.1.117"


def test_a_plan_that_turns_out_to_be_of_the_other_tensorrt_is_named_without_gpus(tmp_path):
    path = plans.write(tmp_path, plans.plan(magic=b"ftrt"))
    assert re.search(r"header says tensorrt [0-9.]+, its sidecar tensorrt-rtx", str(refusal(path)))


def test_a_sidecar_of_another_plan_is_refused(tmp_path):
    one, other = (plans.write(tmp_path, plans.plan(body=body), name=f"{body}.plan") for body in (b"1", b"2"))
    engine_file.sidecar_path(one).replace(engine_file.sidecar_path(other))
    refusal(other, words="not the one that its sidecar describes")
    assert "--trust-engine" in refusal(one, words="there is no .* beside the plan").remedy


def loop(sidecar):
    sidecar.symlink_to(sidecar.name)


@pytest.mark.parametrize(
    ("make", "code"),
    [
        (lambda sidecar: sidecar.mkdir(), 3),
        (os.mkfifo, 3),
        (loop, 3),
        (lambda sidecar: sidecar.symlink_to("nowhere"), 3),
        (lambda sidecar: sidecar.symlink_to("/dev/zero"), 3),
        (lambda sidecar: sidecar.write_bytes(b""), 5),
        (lambda sidecar: sidecar.write_bytes(b"\xff\xfe{}"), 5),
        (lambda sidecar: sidecar.write_bytes(b"\xef\xbb\xbf{}"), 5),
        (lambda sidecar: sidecar.write_bytes(b"{}"), 5),
        (lambda sidecar: sidecar.write_bytes(b"[" * MAX_JSON_BYTES), 5),
        (lambda sidecar: sidecar.write_bytes(b" " * (MAX_JSON_BYTES + 1)), 5),
        (lambda sidecar: sidecar.write_bytes(b'{"\x1b[2J</script>": 1}'), 5),
        (lambda sidecar: sidecar.write_bytes(plans.plan()), 5),
    ],
    ids=["folder", "fifo", "loop", "dangling", "device", "empty", "utf-16", "bom", "object", "deep", "large", "ansi", "plan"],
)  # fmt: skip
def test_a_sidecar_that_is_none_is_refused_by_its_name(engine, make, code):
    sidecar = engine_file.sidecar_path(engine)
    sidecar.unlink()
    make(sidecar)
    assert refusal(engine, code=code).path == sidecar
    assert main(["inspect", str(engine)]) == code


@pytest.mark.parametrize("make", [lambda path: None, lambda path: path.mkdir(), os.mkfifo, loop], ids=["none", "folder", "fifo", "loop"])  # fmt: skip
def test_a_plan_that_cannot_be_read_is_3(engine, make):
    engine.unlink()
    make(engine)
    refusal(engine, code=3)
    with pytest.raises(InputUnreadable):
        engine_file.read_foreign(engine)


def test_a_name_that_leaves_no_room_for_a_sidecars_has_none(tmp_path, capsys):
    path = tmp_path / f"{'n' * 246}.plan"
    path.write_bytes(plans.plan())
    assert not engine_file.has_sidecar(path)
    refusal(path, words="there is no")
    assert main(["inspect", str(path), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["sidecar"] is None
