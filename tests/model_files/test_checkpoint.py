"""Checkpoints: what is saved is what is loaded, every damaged or foreign file is refused, a failed write harms nothing."""

import contextlib
import dataclasses
import hashlib
import json
import os
import pickle
import resource
import struct
import subprocess
import sys

import pytest
import safetensors.numpy
import safetensors.torch
import torch
from networks import with_noise
from project import ROOT
from sealed import safetensors_bytes

from gpsr_deploy.errors import InputUnreadable, ModelRefused, OutputUnwritable
from gpsr_deploy.model_files import checkpoint as checkpoint_file
from gpsr_deploy.network.gpsr import build
from gpsr_deploy.network.sizes import count_macs, count_parameters


@pytest.fixture
def parts(checkpoint_path):
    """(tensors, metadata) of a valid checkpoint, to be changed at will."""
    with safetensors.safe_open(str(checkpoint_path), framework="pt") as file:
        return {key: file.get_tensor(key) for key in file.keys()}, dict(file.metadata())  # noqa: SIM118 - not a dict


@pytest.fixture
def refusal(tmp_path):
    """Writes a file, requires that it is refused with exit code 5, and returns the error's line."""

    def require(content: bytes) -> str:
        path = tmp_path / "x.safetensors"
        path.write_bytes(content)
        with pytest.raises(ModelRefused) as caught:
            checkpoint_file.load(path)
        line = str(caught.value)
        assert line.startswith(f"error[5] {path}: ")
        assert line.isprintable()
        return line

    return require


def with_header(header: bytes, data: bytes = b"", *, size: int | None = None) -> bytes:
    """A safetensors file by hand; `size` is what it says of its header, by default the truth."""
    return struct.pack("<Q", len(header) if size is None else size) + header + data


def test_load_gives_what_was_saved(nano, checkpoint_path):
    network, info = checkpoint_file.load(checkpoint_path)
    assert info == checkpoint_file.read_info(checkpoint_path)
    assert not network.training
    assert network.config == nano.config
    saved, loaded = nano.state_dict(), network.state_dict()
    assert list(saved) == list(loaded)
    assert all(torch.equal(saved[key], loaded[key]) for key in saved)


def test_the_description_is_true(nano, checkpoint_path):
    info = checkpoint_file.read_info(checkpoint_path)
    assert (info.name, info.member, info.scale, info.width, info.blocks) == ("gpsr-nano-x4", "nano", 4, 4, 1)
    assert info.params == count_parameters(nano)
    assert info.macs_720p == count_macs(nano)
    assert info.dtype == "F32"
    assert info.sha256 == hashlib.sha256(checkpoint_path.read_bytes()).hexdigest()
    assert info.training == {"data": "none"}


def test_the_papers_network_needs_no_member_in_its_name(checkpoint_path):
    info = checkpoint_file.read_info(checkpoint_path)
    assert dataclasses.replace(info, member="gpsr", scale=8).name == "gpsr-x8"


def test_half_stores_float16_and_loads_float32(nano, checkpoint_path, tmp_path):
    path = tmp_path / "half.safetensors"
    checkpoint_file.save(nano, path, member="nano", training={}, half=True)
    network, info = checkpoint_file.load(path)
    assert info.dtype == "F16"
    assert path.stat().st_size < 0.6 * checkpoint_path.stat().st_size
    for key, value in network.state_dict().items():
        assert torch.equal(value, nano.state_dict()[key].half().float())


def test_weights_beyond_float16_never_load_as_infinity(tmp_path):
    network = with_noise(build("nano", scale=4))
    with torch.no_grad():
        network.tail.weight[0, 0, 0, 0] = 1e6
    path = tmp_path / "x.safetensors"
    with pytest.raises(ModelRefused):
        checkpoint_file.save(network, path, member="nano", training={}, half=True)
        checkpoint_file.load(path)


def test_the_description_is_read_without_torch(checkpoint_path):
    code = "import sys, pathlib; from gpsr_deploy.model_files import checkpoint as checkpoint_file; " \
           "checkpoint_file.read_info(pathlib.Path(sys.argv[1])); assert 'torch' not in sys.modules"  # fmt: skip
    subprocess.run([sys.executable, "-c", code, checkpoint_path], check=True, cwd=ROOT)


# --- refused ---


@pytest.mark.parametrize(
    "other",
    [
        {"gpsr.member": "lite", "gpsr.width": "8", "gpsr.blocks": "2"},
        {"gpsr.member": "gpsr", "gpsr.width": "16", "gpsr.blocks": "4"},
        {"gpsr.scale": "8", "gpsr.width": "3"},
    ],
    ids=str,
)
def test_another_networks_weights_are_refused_by_the_first_missing_keys(parts, refusal, other):
    tensors, metadata = parts
    assert "lacks head.weight, head.bias, encoders.0.down.weight." in refusal(
        safetensors_bytes(tensors, metadata | other)
    )


def test_missing_weights_are_refused_by_their_first_names(parts, refusal):
    tensors, metadata = parts
    there = {key: value for key, value in tensors.items() if not key.startswith("gradient_modules.1.")}
    first = [key for key in build("nano", scale=4).state_dict() if key not in there][:3]
    assert f"lacks {', '.join(first)}." in refusal(safetensors_bytes(there, metadata))


def test_foreign_keys_are_refused_by_name(parts, refusal):
    tensors, metadata = parts
    foreign = {"conv_first.weight": torch.zeros(64, 3, 3, 3)}
    assert "lacks head.weight" in refusal(safetensors_bytes(foreign, metadata))
    assert "holds conv_first.weight" in refusal(safetensors_bytes(tensors | foreign, metadata))


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_weights_that_are_not_finite_are_refused_by_name(parts, refusal, value):
    tensors, metadata = parts
    tensors["decoders.1.blocks.0.gate.weight"][3, 2, 1, 0] = value
    assert "decoders.1.blocks.0.gate.weight" in refusal(safetensors_bytes(tensors, metadata))


def test_weights_of_a_type_that_is_never_saved_are_refused(parts, refusal):
    tensors, metadata = parts
    refusal(safetensors_bytes({key: value.long() for key, value in tensors.items()}, metadata))


@pytest.mark.parametrize("key", ["format", "member", "scale", "width", "blocks", "macs_720p", "training"])
def test_metadata_without_one_key_is_refused(parts, refusal, key):
    tensors, metadata = parts
    del metadata[f"gpsr.{key}"]
    assert f"gpsr.{key}" in refusal(safetensors_bytes(tensors, metadata))


def test_a_file_without_metadata_is_refused(parts, refusal):
    refusal(safetensors.torch.save(parts[0]))


@pytest.mark.parametrize(
    ("key", "values"),
    [
        ("format", ["", "0", "3", "1.0", "\x1b[31m1"]),
        ("member", ["", "mega", "\x1b[2J\n", "../../etc", "x" * 100_000]),
        ("scale", ["", "four", "4.5", "0", "3", "-4", "32", "9" * 5000]),
        ("width", ["", "2", "-1", "65", "1000000000"]),
        ("blocks", ["", "0", "-1", "17", "1000000000"]),
        ("macs_720p", ["", "many", "nan", "inf", "-1"]),
        ("training", ["", "{", "[" * 100_000, "[]", "null", '"x"', "9" * 5000]),
    ],
)
def test_garbled_metadata_is_refused(parts, refusal, key, values):
    tensors, metadata = parts
    for value in values:
        refusal(safetensors_bytes(tensors, metadata | {f"gpsr.{key}": value}))


def test_a_member_that_does_not_fit_the_sizes_is_refused(parts, refusal):
    """`nano` weights that call themselves the paper's network would be reported as such everywhere."""
    tensors, metadata = parts
    refusal(safetensors_bytes(tensors, metadata | {"gpsr.member": "gpsr"}))


TENSOR = {"dtype": "F32", "shape": [4], "data_offsets": [0, 16]}


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\0" * 7,
        b"not a model at all",
        with_header(b"", size=1 << 62),
        with_header(b"{}", size=100_000_001),
        with_header(b" " * 1000, size=1000),
        with_header(b"{" * 1000),
        with_header(b"[" * 1_000_000),
        with_header(json.dumps({"a": TENSOR, "b": TENSOR}).encode(), bytes(16)),  # overlapping
        with_header(
            json.dumps({"a": TENSOR, "b": TENSOR | {"data_offsets": [8, 24]}}).encode(), bytes(24)
        ),  # overlapping
        with_header(json.dumps({"a": TENSOR, "b": TENSOR | {"data_offsets": [20, 36]}}).encode(), bytes(36)),  # a gap
        with_header(json.dumps({"a": TENSOR | {"data_offsets": [16, 0]}}).encode(), bytes(16)),  # backwards
        with_header(json.dumps({"a": TENSOR | {"shape": [1 << 62, 4]}}).encode(), bytes(16)),
        with_header(json.dumps({"a": TENSOR | {"dtype": "F31"}}).encode(), bytes(16)),
        with_header(json.dumps({"a": TENSOR}).encode(), bytes(12)),  # too short
        with_header(json.dumps({"a": TENSOR}).encode(), bytes(20)),  # too long
    ],
    ids=lambda content: f"{len(content)}:{content[:30]}",
)
def test_a_damaged_header_is_refused(refusal, content):
    refusal(content)


def test_a_checkpoint_cut_anywhere_is_refused(checkpoint_path, refusal):
    content = checkpoint_path.read_bytes()
    (header_size,) = struct.unpack("<Q", content[:8])
    cuts = {0, 1, 7, 8, 9, header_size // 2, header_size + 7, header_size + 8, len(content) // 2, len(content) - 1}
    for cut in cuts:
        refusal(content[:cut])


def test_a_flipped_byte_in_the_header_is_refused_or_harmless(parts, tmp_path):
    content = bytearray(safetensors.torch.save({"a": torch.zeros(1)}, parts[1]))
    path = tmp_path / "x.safetensors"
    refused = 0
    for place in range(len(content) - 4):
        content[place] ^= 0x15
        path.write_bytes(content)
        try:
            checkpoint_file.read_info(path)
        except ModelRefused as error:
            refused += 1
            assert str(error).isprintable()
        content[place] ^= 0x15
    assert refused > 100


class Bomb:
    """Runs code when it is unpickled."""

    def __init__(self, target):
        self.target = str(target)

    def __reduce__(self):
        return os.mkdir, (self.target,)


@pytest.mark.parametrize("dump", [pickle.dumps, "torch"], ids=["pickle", "torch.save"])
def test_a_pickle_is_refused_and_nothing_in_it_runs(refusal, tmp_path, dump):
    target = tmp_path / "executed"
    if dump == "torch":
        torch.save({"head.weight": Bomb(target)}, tmp_path / "x.pt")
        content = (tmp_path / "x.pt").read_bytes()
    else:
        content = dump(Bomb(target))
    refusal(content)
    assert not target.exists()


def test_a_missing_file_and_a_folder_are_unreadable(tmp_path):
    for path in (tmp_path / "none.safetensors", tmp_path):
        for read in (checkpoint_file.read_info, checkpoint_file.load):
            with pytest.raises(InputUnreadable, match=r"error\[3\]"):
                read(path)


# --- writing ---


@contextlib.contextmanager
def small_disk():
    """No file may grow beyond 4 KiB: for one call only, since pytest's own output may be a larger file."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("old", [None, b"the old file"], ids=["new", "over an old one"])
def test_a_full_disk_leaves_the_old_file_and_no_other(nano, tmp_path, old):
    path = tmp_path / "x.safetensors"
    if old is not None:
        path.write_bytes(old)
    before = sorted(tmp_path.iterdir())
    with pytest.raises(OutputUnwritable, match=r"error\[4\]"), small_disk():
        checkpoint_file.save(nano, path, member="nano", training={})
    assert sorted(tmp_path.iterdir()) == before
    assert old is None or path.read_bytes() == old


def test_an_ablated_network_comes_back_as_it_was_and_says_what_it_lacks(tmp_path):
    network = build("nano", scale=4, without=("gradient_branch", "crfs"))
    checkpoint_file.save(network, tmp_path / "x.safetensors", member="nano", training={})
    loaded, info = checkpoint_file.load(tmp_path / "x.safetensors")
    assert loaded.config == network.config
    assert info.without == ("gradient_branch", "crfs")
    assert info.name == "gpsr-nano-x4-without-gradient_branch-without-crfs"
    assert all(torch.equal(value, loaded.state_dict()[key]) for key, value in network.state_dict().items())


@pytest.mark.parametrize("without", ["gradient_branch", "everything", "lrsam,lrsam,../x", "\x1b[2J"])
def test_a_whole_network_that_says_it_lacks_a_part_is_refused(parts, refusal, without):
    tensors, metadata = parts
    refusal(safetensors_bytes(tensors, metadata | {"gpsr.without": without}))


def test_every_flipped_bit_is_found_by_the_checksum(checkpoint_path, refusal):
    """In a hundred places all over the file, header and weights."""
    content = checkpoint_path.read_bytes()
    for position in range(0, len(content), len(content) // 100):
        damaged = bytearray(content)
        damaged[position] ^= 1 << (position % 8)
        refusal(bytes(damaged))


def test_a_file_of_the_format_before_says_that_it_has_no_checksum(parts, tmp_path):
    tensors, metadata = parts
    del metadata["gpsr.sha256"]
    path = tmp_path / "old.safetensors"
    path.write_bytes(safetensors.torch.save(tensors, metadata | {"gpsr.format": "1"}))
    assert checkpoint_file.read_info(path).warnings == (
        "the model carries no checksum, so that damage to it would go unnoticed",
    )


def test_a_file_that_lost_its_checksum_is_refused(parts, refusal):
    tensors, metadata = parts
    del metadata["gpsr.sha256"]
    assert "lost its checksum" in refusal(safetensors.torch.save(tensors, metadata))
