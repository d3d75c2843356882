"""Films through the whole pipeline with a network that only repeats pixels: right in colour, right in time, nothing lost."""

from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from film_runs import assert_same_frames, made
from films import SCALE, Nearest, moving, see, shrunk, source_of, write

from gpsr_deploy.errors import InputUnreadable, OutputUnwritable, UsageError
from gpsr_deploy.media.video import encoder, pipes, tags, y4m
from gpsr_deploy.media.video.colour import Coding, to_planes, to_rgb
from gpsr_deploy.spec import Profile

H273 = {"601": 6, "709": 1, "2020": 9}


def colours(bits: int, matrix: str, full: bool) -> tuple:
    """Planes of one 4:2:0 frame that holds a grid of all RGB, its corners included, as 16x32 flat squares of 16x16."""
    grid = np.stack(np.meshgrid(*[np.linspace(0, 1, 8)] * 3), axis=-1).reshape(16, 32, 3)
    coding = Coding(matrix=matrix, full=full, bits=bits)
    return to_planes(np.rint(grid * 65535).astype(np.uint16).repeat(16, axis=0).repeat(16, axis=1), coding)


def inside(plane: np.ndarray) -> np.ndarray:
    """The middle of each square, which its neighbours' chroma does not reach."""
    side = plane.shape[0] // 16
    return plane.reshape(16, side, 32, side)[:, side // 4 : -side // 4, :, side // 4 : -side // 4].astype(float)


@pytest.mark.parametrize("bits", [8, 10])
@pytest.mark.parametrize("full", [False, True], ids=["limited", "full"])
@pytest.mark.parametrize("matrix", ["601", "709", "2020"])
def test_every_colour_returns_within_one_level(tmp_path: Path, matrix: str, full: bool, bits: int):
    frame = colours(bits, matrix, full)
    path = write(
        tmp_path / "in.mkv", [frame], pixel_format="yuv420p" if bits == 8 else "yuv420p10le",
        matrix=H273[matrix], colour_range=2 if full else 1, primaries=H273[matrix], transfer=1,
    )  # fmt: skip
    made(path, tmp_path / "out.mkv")
    found = see(tmp_path / "out.mkv")
    assert found.size == (256 * SCALE, 512 * SCALE)
    assert found.pixel_format == ("yuv420p" if bits == 8 else "yuv420p10le")
    told = H273[matrix], 2 if full else 1, H273[matrix], 1
    assert (found.matrix, found.colour_range, found.primaries, found.transfer) == told
    for before, after in zip(frame, shrunk(found.frames[0]), strict=True):
        assert np.abs(inside(after) - inside(before)).max() <= 1


@pytest.mark.parametrize(("height", "matrix"), [(720, "709"), (180, "601")])
def test_what_tells_nothing_goes_by_its_size_and_the_output_tells_it(tmp_path: Path, height: int, matrix: str):
    path = write(tmp_path / "in.mkv", moving(1, height=height, width=32))
    with source_of(path) as source:
        assert (source.format.coding.matrix, source.format.coding.full) == (matrix, False)
        encoding, _ = encoder.choose(tmp_path / "o.mkv", source.format, scale=SCALE, codec="ffv1", crf=None, options={})
    told = encoding.format
    assert (tags.CODE_POINTS[told.coding.matrix], told.primaries, told.transfer) == (H273[matrix],) * 3


def test_the_enlarged_film_keeps_the_matrix_that_was_guessed(tmp_path: Path):
    path = write(tmp_path / "in.mkv", moving(2, height=180, width=32))
    made(path, tmp_path / "out.mkv")
    found = see(tmp_path / "out.mkv")
    assert found.size == (720, 128)  # which players would take for BT.709
    assert (found.matrix, found.colour_range) == (H273["601"], 1)


@pytest.mark.parametrize("transfer", [tags.PQ, tags.HLG])
@pytest.mark.parametrize("suffix", [".mkv", ".mp4"])
def test_hdr_stays_10_bit_and_tagged(tmp_path: Path, transfer: int, suffix: str):
    path = write(
        tmp_path / "in.mkv", moving(3, bits=10), pixel_format="yuv420p10le", matrix=9, primaries=9, transfer=transfer,
        colour_range=1,
    )  # fmt: skip
    made(path, tmp_path / f"out{suffix}", codec=None)
    found = see(tmp_path / f"out{suffix}")
    assert (found.matrix, found.primaries, found.transfer, found.colour_range) == (9, 9, transfer, 1)
    assert found.pixel_format == "yuv420p10le"


def test_the_light_of_hdr_is_told_again(tmp_path: Path):
    light = "master-display=G(13250,34500)B(7500,3000)R(34000,16000)WP(15635,16450)L(10000000,1):max-cll=1000,400"
    path = write(
        tmp_path / "in.mkv", moving(6, height=64, width=64, bits=10), pixel_format="yuv420p10le", codec="libx265", matrix=9,
        primaries=9, transfer=tags.PQ, options={"x265-params": f"log-level=none:{light}"},
    )  # fmt: skip
    *_, said = made(path, tmp_path / "out.mkv", codec=None)
    assert said == ()
    with source_of(path) as before, source_of(tmp_path / "out.mkv") as after:
        assert before.format.hdr is not None
        assert f"master-display={before.format.hdr.mastering}:max-cll={before.format.hdr.light_level}" == light
        assert after.format.hdr == before.format.hdr
    *_, said = made(path, tmp_path / "other.mkv", codec="ffv1")
    assert "mastering display" in said[0]


VARIABLE = [0, 40, 41, 100, 333, 334, 900]


@pytest.mark.parametrize("codec", ["ffv1", "libx264", "libx265", "libsvtav1"])
@pytest.mark.parametrize("segment", [3, 100])
def test_times_are_kept_exactly(tmp_path: Path, codec: str, segment: int):
    frames = moving(len(VARIABLE), height=64, width=64)
    path = write(tmp_path / "in.mkv", frames, pts=VARIABLE)
    made(path, tmp_path / "out.mkv", codec=codec, segment_frames=segment)
    assert see(tmp_path / "out.mkv").seconds == see(path).seconds == tuple(Fraction(t, 1000) for t in VARIABLE)


@pytest.mark.parametrize("suffix", [".mp4", ".mov"])
def test_times_on_a_fine_clock_are_kept_in_containers_that_have_one(tmp_path: Path, suffix: str):
    ticks = [0, 3003, 3004, 6006, 9009 + 7, 12012, 20001]
    path = write(
        tmp_path / "in.mp4", moving(7, height=64, width=64), codec="libx264", tick=Fraction(1, 90000), pts=ticks,
        rate=Fraction(30000, 1001),
    )  # fmt: skip
    made(path, tmp_path / f"out{suffix}", codec="libx264", segment_frames=3)
    assert see(tmp_path / f"out{suffix}").seconds == see(path).seconds == tuple(Fraction(t, 90000) for t in ticks)


def test_matroska_rounds_to_its_milliseconds_and_that_is_told(tmp_path: Path):
    ticks = [0, 3003, 6006]
    path = write(tmp_path / "in.mp4", moving(3), codec="libx264", tick=Fraction(1, 90000), pts=ticks)
    assert made(path, tmp_path / "out.mkv")[0].rounded
    assert see(tmp_path / "out.mkv").seconds == (0, Fraction(33, 1000), Fraction(67, 1000))
    assert not made(path, tmp_path / "out.mp4", codec="libx264")[0].rounded


def test_a_film_that_begins_late_begins_late(tmp_path: Path):
    path = write(tmp_path / "in.mkv", moving(4), pts=[700, 740, 780, 820])
    for name in ("out.mkv", "out.mp4"):
        made(path, tmp_path / name, codec="libx264")
        assert see(tmp_path / name).seconds == tuple(Fraction(t, 1000) for t in (700, 740, 780, 820))


@pytest.mark.parametrize("suffix", [".mkv", ".mp4"])
def test_sound_is_copied_packet_by_packet(tmp_path: Path, suffix: str):
    path = write(tmp_path / f"in{suffix}", moving(10), codec="libx264", sound=True)
    made(path, tmp_path / f"out{suffix}")
    before, after = see(path).packets["audio"], see(tmp_path / f"out{suffix}").packets["audio"]
    assert len(before) > 15
    assert after == before
    made(path, tmp_path / f"mute{suffix}", audio=False)
    assert see(tmp_path / f"mute{suffix}").packets == {}


def test_subtitles_chapters_attachments_tags_aspect_and_rotation_go_along(tmp_path: Path):
    path = write(
        tmp_path / "in.mkv", moving(10), codec="libx264", sound=True, subtitles=True, chapters=True, attachment=b"font" * 99,
        aspect=Fraction(8, 9), rotation=90,
    )  # fmt: skip
    _, damage, said = made(path, tmp_path / "out.mkv", codec="libx264")
    assert said == ()
    assert not damage.missing
    before, after = see(path), see(tmp_path / "out.mkv")
    assert before.packets.keys() == {"audio", "subtitle"}
    for seen in ("packets", "attachments", "title", "aspect", "matrix_of_display", "seconds"):
        assert getattr(after, seen) == getattr(before, seen), seen
    assert after.aspect == Fraction(8, 9)
    assert after.matrix_of_display is not None
    assert [(c["start"] * c["time_base"], c["metadata"]) for c in after.chapters] == [
        (c["start"] * c["time_base"], c["metadata"]) for c in before.chapters
    ]
    assert len(after.chapters) == 1
    with av.open(str(tmp_path / "out.mkv")) as source:
        assert source.streams.audio[0].language == "fra"


def test_rotation_and_aspect_are_kept_in_mp4(tmp_path: Path):
    path = write(tmp_path / "in.mp4", moving(3), codec="libx264", aspect=Fraction(4, 3), rotation=-90)
    made(path, tmp_path / "out.mp4", codec="libx264")
    found = see(tmp_path / "out.mp4")
    assert (found.aspect, found.matrix_of_display) == (Fraction(4, 3), see(path).matrix_of_display)


def test_what_the_container_cannot_hold_is_refused_before_the_work(tmp_path: Path):
    path = write(tmp_path / "in.mkv", moving(3), sound=True, subtitles=True, attachment=b"font")
    backend = Nearest()
    with pytest.raises(OutputUnwritable, match="srt subtitle") as caught:
        made(path, tmp_path / "out.mp4", backend=backend)
    assert ".mkv" in caught.value.remedy
    assert backend.batches == []
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(("height", "width"), [(17, 31), (1, 1), (2, 1), (33, 2)])
@pytest.mark.parametrize("chroma", ["420", "422"])
def test_odd_sizes_are_kept(tmp_path: Path, height: int, width: int, chroma: str):
    layout = {"420": (2, 2), "422": (1, 2)}[chroma]
    path = write(
        tmp_path / "in.mkv", moving(2, height=height, width=width, chroma=layout), pixel_format=f"yuv{chroma}p",
        codec="rawvideo",
    )  # fmt: skip
    made(path, tmp_path / "out.mkv")
    found = see(tmp_path / "out.mkv")
    assert (found.size, found.pixel_format, len(found.frames)) == ((height * 4, width * 4), f"yuv{chroma}p", 2)


def test_rgb_films_return_exactly(tmp_path: Path):
    planes = [tuple(np.random.default_rng(n).integers(0, 256, (3, 12, 16)).astype(np.uint8)) for n in range(2)]
    with av.open(str(tmp_path / "in.mkv"), "w") as output:
        stream = output.add_stream("ffv1", rate=25)
        stream.width, stream.height, stream.pix_fmt = 16, 12, "bgr0"
        for number, (red, green, blue) in enumerate(planes):
            frame = av.VideoFrame.from_ndarray(np.stack([red, green, blue], axis=-1), format="rgb24").reformat(
                format="bgr0"
            )
            frame.pts = number
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    path = tmp_path / "in.mkv"
    with source_of(path) as source:
        assert source.format.coding.matrix == "rgb"
        for frame, wanted in zip(source.frames(), planes, strict=True):
            assert all(map(np.array_equal, frame.planes, wanted))
            assert np.array_equal(to_rgb(frame.planes, source.format.coding)[..., 1] // 257, wanted[1])
    *_, said = made(path, tmp_path / "out.mkv", codec="libx264")
    assert "RGB" in said[0]
    found = see(tmp_path / "out.mkv")
    assert (found.pixel_format, found.matrix) == ("yuv444p", 1)


@pytest.mark.parametrize("codec", ["libx264", "libx265", "libvpx-vp9", "libsvtav1", "ffv1", "prores_ks", "mpeg4"])
def test_codecs_write_what_they_are_given(tmp_path: Path, codec: str):
    path = write(tmp_path / "in.mkv", moving(5, height=64, width=64))
    made(path, tmp_path / "out.mkv", codec=codec, segment_frames=2)
    before, after = see(path), see(tmp_path / "out.mkv")
    assert len(after.frames) == 5
    assert after.seconds == before.seconds
    peak = 2 ** (10 - 8) if after.pixel_format.endswith("10le") else 1
    for old, new in zip(before.frames, after.frames, strict=True):
        assert np.abs(shrunk(new)[0] / peak - old[0]).mean() < 3


def test_options_of_the_encoder_arrive(tmp_path: Path):
    path = write(tmp_path / "in.mkv", moving(4, height=64, width=64))
    sizes = []
    for crf in (1, 45):
        made(path, tmp_path / f"{crf}.mkv", codec="libx264", crf=crf, options={"preset": "ultrafast"})
        sizes.append((tmp_path / f"{crf}.mkv").stat().st_size)
    assert sizes[0] > 2 * sizes[1]


@pytest.mark.parametrize(
    ("name", "more", "error"),
    [
        ("out.avi", {}, UsageError),
        ("out.mkv", {"codec": "nosuch"}, UsageError),
        ("out.mkv", {"codec": "aac"}, UsageError),
        ("out.mkv", {"codec": "libx264", "options": {"nosuch": "1"}}, UsageError),
        ("out.mkv", {"codec": "libx264", "options": {"preset": "nosuch"}}, UsageError),
        ("out.mkv", {"codec": "ffv1", "crf": 3}, UsageError),
        ("out.webm", {"codec": "libx264"}, OutputUnwritable),
    ],
)
def test_codec_and_container_are_checked_before_the_work(tmp_path: Path, name: str, more: dict, error: type):
    path = write(tmp_path / "in.mkv", moving(2))
    backend = Nearest()
    with pytest.raises(error):
        made(path, tmp_path / name, backend=backend, **more)
    assert backend.batches == []
    assert list(tmp_path.iterdir()) == [path]


def test_depth_is_never_reduced(tmp_path: Path):
    path = write(tmp_path / "in.mkv", moving(2, bits=10), pixel_format="yuv420p10le")
    with pytest.raises(UsageError, match="no 10 bits"):
        made(path, tmp_path / "out.mkv", codec="mpeg4")


def test_frames_that_repeat_are_computed_once_and_all_are_there(tmp_path: Path):
    one, two = moving(2)
    path = write(tmp_path / "in.mkv", [one, one, one, two, two, one])
    once, every = Nearest(), Nearest()
    outcome, *_ = made(path, tmp_path / "once.mkv", backend=once)
    assert (outcome.frames, outcome.computed, len(once.batches)) == (6, 3, 3)
    outcome, *_ = made(path, tmp_path / "every.mkv", backend=every, dedupe=False)
    assert (outcome.computed, len(every.batches)) == (6, 6)
    assert_same_frames(tmp_path / "once.mkv", tmp_path / "every.mkv")


def test_a_part_of_a_film_keeps_its_times_and_its_sound(tmp_path: Path):
    path = write(tmp_path / "in.mkv", moving(20), sound=True, chapters=True)
    outcome, *_ = made(path, tmp_path / "out.mkv", start=5, limit=10)
    before, after = see(path), see(tmp_path / "out.mkv")
    assert outcome.frames == 10
    assert after.seconds == before.seconds[5:15]
    for old, new in zip(before.frames[5:15], after.frames, strict=True):
        assert np.abs(shrunk(new)[0] - old[0]).max() <= 1
    begin, end = before.seconds[5], before.seconds[15]
    assert after.packets["audio"] == [packet for packet in before.packets["audio"] if begin <= packet[1] < end]


def test_a_part_behind_the_end_is_refused(tmp_path: Path):
    path = write(tmp_path / "in.mkv", moving(3))
    with pytest.raises(InputUnreadable, match="3 frames"):
        made(path, tmp_path / "out.mkv", start=3)
    assert list(tmp_path.iterdir()) == [path]


def test_progress_counts_to_the_end(tmp_path: Path):
    path = write(tmp_path / "in.mkv", moving(5))
    told = []
    made(path, tmp_path / "out.mkv", on_progress=lambda *state: told.append(state))
    assert told == [(n, 5) for n in range(1, 6)]


def test_a_failure_of_the_network_ends_it_and_leaves_finished_segments(tmp_path: Path):
    path = write(tmp_path / "in.mkv", moving(9))
    with pytest.raises(RuntimeError, match="told to fail"):
        made(path, tmp_path / "out.mkv", backend=Nearest(failing=6), segment_frames=2)
    assert not (tmp_path / "out.mkv").exists()
    assert {p.name for p in (tmp_path / "out.mkv.segments").glob("*.mkv")} >= {"00000.mkv"}


def test_an_engine_with_a_profile_keeps_its_tiles(tmp_path: Path):
    path = write(tmp_path / "in.mkv", moving(2, height=40, width=50))
    profile = Profile(min=(8, 8), opt=(16, 16), max=(32, 32), batch=4)
    backend = Nearest(profile=profile)
    made(path, tmp_path / "out.mkv", backend=backend)
    assert {batch.shape[2:] for batch in backend.batches} == {(16, 16)}
    assert max(len(batch) for batch in backend.batches) == 4


@pytest.mark.parametrize(
    ("batch", "segment", "together"), [(4, 100, 4), (8, 100, 5), (3, 4, 2), (64, 100, 10), (1, 100, 1)]
)
def test_frames_go_through_an_engine_in_its_batches(tmp_path: Path, batch: int, segment: int, together: int):
    path = write(tmp_path / "in.mkv", moving(11, height=16, width=16))
    backend = Nearest(profile=Profile(min=(8, 8), opt=(16, 16), max=(32, 32), batch=batch))
    outcome, *_ = made(path, tmp_path / "out.mkv", backend=backend, segment_frames=segment)
    assert [len(found) for found in backend.batches] == [together] * (11 // together) + [11 % together] * (
        11 % together > 0
    )
    assert outcome.computed == 11
    made(path, tmp_path / "one.mkv")
    assert_same_frames(tmp_path / "out.mkv", tmp_path / "one.mkv")


def test_a_pipe_takes_the_matrix_that_its_new_size_means():
    format = y4m.parse_header(b"YUV4MPEG2 W320 H180 F25:1")
    assert format.coding.matrix == "601"
    larger = pipes.output_format(format, scale=4, keep_matrix=False)
    assert (larger.coding.matrix, larger.height, larger.width) == ("709", 720, 1280)
    assert pipes.output_format(format, scale=4, keep_matrix=True).coding.matrix == "601"
    wide = replace(format, coding=replace(format.coding, matrix="2020"))
    assert pipes.output_format(wide, scale=4, keep_matrix=False).coding.matrix == "2020"
