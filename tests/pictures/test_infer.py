"""One file in, one out, by rows: the same pixels as in memory, whatever is read by rows, and little memory however large."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import pyvips
from hypothesis import given, settings
from hypothesis import strategies as st
from neighbours import Neighbours
from project import ROOT, SUPPORT

from gpsr_deploy.errors import InputUnreadable, OutOfMemory, OutputUnwritable
from gpsr_deploy.media import images
from gpsr_deploy.media.images.rows import RowReader
from gpsr_deploy.pictures import sources
from gpsr_deploy.pictures.infer import infer
from gpsr_deploy.upscaling.upscale import Tiling, upscale

SCALE = 4


def noise(height, width, *, channels=3, dtype=np.uint8, seed=0):
    shape = (height, width) if channels == 1 else (height, width, channels)
    return np.random.default_rng(seed).integers(0, np.iinfo(dtype).max + 1, shape, dtype=dtype)


def enlarged(source: Path, target: Path, backend=None, **tiling):
    return infer(backend or Neighbours(), source, target, tiling=Tiling(**tiling), overwrite=True)


# --- the same pixels ---


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("suffix", [".png", ".tif"])
@settings(max_examples=8)
@given(height=st.integers(1, 300), width=st.integers(1, 300), tile=st.integers(30, 90))
def test_by_rows_is_in_memory(tmp_path: Path, dtype, channels, suffix, height, width, tile):
    pixels = noise(height, width, channels=channels, dtype=dtype)
    source, target = tmp_path / f"lr{suffix}", tmp_path / f"sr{suffix}"
    images.write(source, images.Picture(pixels=pixels), overwrite=True)
    assert isinstance(sources.opened(source), sources._OnDisk)
    result = enlarged(source, target, tile=(tile, tile))
    wanted = upscale(Neighbours(), pixels, tiling=Tiling(tile=(tile, tile)))
    assert np.array_equal(images.read(target).pixels, wanted.sr)
    assert (result.tiles, result.tile, result.halo) == (len(wanted.plan), wanted.plan.tile, wanted.halo)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_orientation_is_enlarged_upright(tmp_path: Path, orientation):
    source, target = tmp_path / "lr.tif", tmp_path / "sr.tif"
    pixels = noise(70, 50)
    image = pyvips.Image.new_from_array(pixels)
    image.set_type(pyvips.GValue.gint_type, "orientation", orientation)
    image.tiffsave(str(source))
    upright = images.read(source).pixels
    assert (upright.shape == pixels.shape) == (orientation < 5)
    enlarged(source, target, tile=(36, 36))
    assert np.array_equal(images.read(target).pixels, upscale(Neighbours(), upright).sr)


@pytest.mark.parametrize("varies", [True, False])
def test_alpha_is_enlarged_with_the_colours(tmp_path: Path, varies):
    source, target = tmp_path / "lr.png", tmp_path / "sr.png"
    pixels, alpha = noise(90, 60), noise(90, 60, channels=1, seed=1)
    alpha = np.maximum(alpha, 1) if varies else np.full_like(alpha, 77)
    images.write(source, images.Picture(pixels=pixels, alpha=alpha))
    enlarged(source, target, tile=(36, 36))
    found = images.read(target)
    assert np.array_equal(found.pixels, upscale(Neighbours(), pixels).sr)
    if varies:
        wanted = upscale(Neighbours(), alpha).sr
        flat = np.isin(found.alpha, (0, 255))  # where a flat region stays flat
        assert np.array_equal(found.alpha[~flat], wanted[~flat])
    else:
        assert (found.alpha == 77).all()


def test_flat_alpha_is_the_same_whichever_rows_a_tile_has(tmp_path: Path):
    source = tmp_path / "lr.png"
    alpha = np.zeros((120, 60), np.uint8)
    alpha[31:90] = 255
    images.write(source, images.Picture(pixels=noise(120, 60), alpha=alpha))
    found = []
    for tile in (30, 36, 120):
        target = tmp_path / f"{tile}.png"
        enlarged(source, target, tile=(tile, 60))
        found.append(images.read(target).alpha)
    assert all(np.array_equal(found[0], other) for other in found[1:])
    assert (found[0][4 * 33 : 4 * 88] == 255).all()


# --- memory that runs out ---


@pytest.mark.parametrize("enough_for", [0, 1, 5])
def test_memory_that_runs_out_on_the_way_gives_what_a_smaller_tile_gives(tmp_path: Path, enough_for):
    source, target, small = (tmp_path / name for name in ("lr.png", "sr.png", "small.png"))
    images.write(source, images.Picture(pixels=noise(200, 180)))
    backend = Neighbours(max_pixels=60 * 60, enough_for=enough_for)
    result = enlarged(source, target, backend, tile=(90, 90))
    assert result.tile[0] * result.tile[1] <= 60 * 60
    enlarged(source, small, tile=result.tile)
    assert target.read_bytes() == small.read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["lr.png", "small.png", "sr.png"]


def test_no_memory_at_all_leaves_the_old_file(tmp_path: Path):
    source, target = tmp_path / "lr.png", tmp_path / "sr.png"
    images.write(source, images.Picture(pixels=noise(200, 180)))
    target.write_bytes(b"precious")
    with pytest.raises(OutOfMemory):
        enlarged(source, target, Neighbours(max_pixels=10, enough_for=3), tile=(90, 90))
    assert target.read_bytes() == b"precious"


def peak_of(code: str, *arguments: object) -> int:
    """MiB at the most that a process which runs `code` holds."""
    tail = "\nprint(next(line for line in open('/proc/self/status') if line.startswith('VmHWM')).split()[1])"
    command = [sys.executable, "-c", code + tail, *map(str, arguments)]
    return int(subprocess.run(command, check=True, capture_output=True, text=True).stdout) // 1024


RUN = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[3])
from gpsr_deploy.pictures.infer import infer
from gpsr_deploy.upscaling.upscale import Tiling
from neighbours import Neighbours
infer(Neighbours(), Path(sys.argv[1]), Path(sys.argv[2]), tiling=Tiling(), overwrite=True)
"""


def photograph(path: Path, height: int, width: int) -> None:
    """A picture that compresses like a photograph, made by rows."""
    tile = images.read(ROOT / "gpsr_deploy" / "samples" / "rocket.png").pixels
    image = pyvips.Image.new_from_array(tile)
    image.replicate(-(-width // image.width), -(-height // image.height)).crop(0, 0, width, height).write_to_file(
        str(path)
    )


@pytest.mark.alone
@pytest.mark.parametrize(
    ("height", "width", "suffix"),
    [
        (2000, 2600, ".png"),
        (2000, 2600, ".tif"),
        pytest.param(9000, 12000, ".tif", marks=pytest.mark.slow),
        pytest.param(9000, 12000, ".png", marks=pytest.mark.slow),
    ],
)
def test_memory_does_not_grow_with_the_output(tmp_path: Path, height, width, suffix):
    """The small ones give 250 MB of samples. Their peak is that of the imports, tiles and a row of tiles."""
    source, target = tmp_path / "lr.jpg", tmp_path / f"sr{suffix}"
    photograph(source, height, width)
    peak = peak_of(RUN, source, target, SUPPORT)
    made = pyvips.Image.new_from_file(str(target), access="sequential")  # larger than what we take as input
    assert (made.height, made.width) == (SCALE * height, SCALE * width)
    print(f"{height}x{width} to {suffix}: {peak} MiB")
    assert peak < (1536 if height > 5000 else 900)
    if height > 5000:
        same_as_in_memory(source, target)


def same_as_in_memory(source: Path, target: Path) -> None:
    """Whether the pixels of a huge output are those of `upscale` for bands of its input."""
    lr = pyvips.Image.new_from_file(str(source)).numpy()
    sr = pyvips.Image.new_from_file(str(target), access="sequential")
    region = pyvips.Region.new(sr)
    for top in range(0, lr.shape[0], 300):
        rows = min(300, lr.shape[0] - top)
        found = np.frombuffer(region.fetch(0, SCALE * top, sr.width, SCALE * rows), np.uint8)
        wanted = upscale(Neighbours(), lr[top : top + rows + 3]).sr[: SCALE * rows]
        assert np.array_equal(found.reshape(wanted.shape), wanted)


# --- rows in and out ---


@given(
    heights=st.lists(st.integers(1, 20), min_size=1, max_size=12),
    steps=st.lists(st.tuples(st.integers(0, 9), st.integers(1, 30)), max_size=20),
)
def test_a_reader_gives_the_rows_asked_for(heights, steps):
    whole = np.arange(sum(heights) * 2, dtype=np.uint16).reshape(-1, 2)
    edges = np.cumsum([0, *heights])
    reader = RowReader((whole[a:b] for a, b in zip(edges[:-1], edges[1:], strict=True)), height=len(whole))
    start = 0
    for step, count in steps:
        start = min(start + step, len(whole) - 1)
        assert np.array_equal(reader.rows(start, start + count), whole[start : start + count])


def outline_of(pixels):
    return images.Picture(pixels=pixels).outline


def test_rows_that_are_missing_leave_no_file(tmp_path: Path):
    pixels = noise(20, 10)
    with pytest.raises(ValueError, match="15 rows were written, expected 20"):
        with images.writing(tmp_path / "x.png", outline_of(pixels)) as writer:
            writer.write(pixels[:15])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("large", [False, True])
def test_an_error_of_the_caller_leaves_no_file_and_no_thread(tmp_path: Path, large):
    import threading

    pixels = noise(4000 if large else 20, 4000)
    with pytest.raises(KeyError, match="mine"):
        with images.writing(tmp_path / "x.png", outline_of(pixels)) as writer:
            writer.write(pixels[: len(pixels) // 2 * 2 - 1])
            raise KeyError("mine")
    assert list(tmp_path.iterdir()) == []
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("encode")]


@pytest.mark.parametrize("suffix", [".png", ".tif", ".jpg", ".webp"])
def test_rows_of_any_number_give_the_same_file(tmp_path: Path, suffix):
    pixels = noise(90, 70)
    for name, counts in (("a", [90]), ("b", [1, 2, 37, 50])):
        with images.writing(tmp_path / f"{name}{suffix}", outline_of(pixels)) as writer:
            top = 0
            for count in counts:
                writer.write(pixels[top : top + count])
                top += count
    assert (tmp_path / f"a{suffix}").read_bytes() == (tmp_path / f"b{suffix}").read_bytes()


def test_a_disk_that_fills_up_while_rows_come_is_told_as_such(tmp_path: Path):
    code = (
        "import resource, sys, numpy as np\n"
        "from pathlib import Path\n"
        "from gpsr_deploy.media import images\n"
        "from gpsr_deploy.errors import OutputUnwritable\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))\n"
        "pixels = np.random.default_rng(0).integers(0, 256, (6000, 4000, 3), np.uint8)\n"
        "try:\n"
        "    with images.writing(Path(sys.argv[1]), images.Picture(pixels=pixels).outline) as writer:\n"
        "        for top in range(0, 6000, 100):\n"
        "            writer.write(pixels[top : top + 100])\n"
        "except OutputUnwritable as error:\n"
        "    sys.exit(top // 100)\n"
    )
    ended = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "x.tif")], capture_output=True, text=True, timeout=300
    )
    assert 0 < ended.returncode < 59, ended.stderr  # and not only when all the work was done
    assert list(tmp_path.iterdir()) == []


# --- damage and change ---


def test_damage_is_found_before_the_network_runs(tmp_path: Path):
    source, target = tmp_path / "lr.png", tmp_path / "sr.png"
    images.write(source, images.Picture(pixels=noise(400, 300)))
    source.write_bytes(source.read_bytes()[:-20_000])
    backend = Neighbours()
    with pytest.raises(InputUnreadable):
        enlarged(source, target, backend)
    assert (backend.shapes, target.exists()) == ([], False)


def test_a_file_that_changes_on_the_way_is_refused(tmp_path: Path):
    source, target = tmp_path / "lr.png", tmp_path / "sr.png"
    images.write(source, images.Picture(pixels=noise(400, 300)))

    class Meddling(Neighbours):
        def infer(self, batch):
            source.write_bytes(source.read_bytes()[:50_000])
            return super().infer(batch)

    with pytest.raises(InputUnreadable):
        enlarged(source, target, Meddling(), tile=(45, 45))
    assert not target.exists()


def test_what_stands_there_by_then_is_kept(tmp_path: Path):
    source, target = tmp_path / "lr.png", tmp_path / "sr.png"
    images.write(source, images.Picture(pixels=noise(40, 30)))

    class Slow(Neighbours):
        def infer(self, batch):
            target.write_bytes(b"another's")
            return super().infer(batch)

    with pytest.raises(OutputUnwritable, match="exists"):
        infer(Slow(), source, target, tiling=Tiling(), overwrite=False)
    assert target.read_bytes() == b"another's"
