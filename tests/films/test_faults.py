"""Films that are damaged, that lie, or that are none: refused with 3 and what to do, or made with a warning that counts."""

import io
import os
import re
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from film_runs import made
from films import Nearest, by_ffmpeg, cut, gpsr, moving, nearest_onnx, see, source_of, write

from gpsr_deploy.errors import InputUnreadable, OutputUnwritable, UsageError
from gpsr_deploy.media.video import container, segments


def refused(path: Path, match: str) -> InputUnreadable:
    """That the film is refused before anything is computed or written."""
    backend = Nearest()
    before = sorted(path.parent.iterdir())
    with pytest.raises(InputUnreadable, match=match) as caught:
        made(path, path.parent / "out.mkv", backend=backend)
    assert backend.batches == []
    assert sorted(path.parent.iterdir()) == before
    assert caught.value.exit_code == 3
    return caught.value


def test_missing_empty_folders_and_rubbish_are_refused(tmp_path: Path):
    refused(tmp_path / "missing.mkv", "No such file")
    (tmp_path / "empty.mkv").write_bytes(b"")
    (tmp_path / "rubbish.mkv").write_bytes(np.random.default_rng(0).bytes(5000))
    (tmp_path / "folder.mkv").mkdir()
    for name in ("empty.mkv", "rubbish.mkv", "folder.mkv"):
        refused(tmp_path / name, ".")


def test_a_fifo_is_refused_and_not_waited_for(tmp_path: Path):
    os.mkfifo(tmp_path / "in.mkv")
    assert "y4m" in refused(tmp_path / "in.mkv", "no regular file").remedy


def test_sound_alone_is_no_film(tmp_path: Path):
    with av.open(str(tmp_path / "in.mkv"), "w") as output:
        stream = output.add_stream("aac", rate=48000, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        frame.sample_rate = 48000
        output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    refused(tmp_path / "in.mkv", "only audio")


@pytest.mark.parametrize(
    "content",
    [
        "ffconcat version 1.0\nfile real.mkv\n",
        "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nreal.mkv\n#EXT-X-ENDLIST\n",
        "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video 5004 RTP/AVP 96\n",
        '<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011"></MPD>',
    ],
    ids=["ffconcat", "hls", "sdp", "dash"],
)
@pytest.mark.parametrize("name", ["in.mp4", "in.mkv", "in.ffconcat"])
def test_playlists_are_no_films_whatever_they_are_called(
    tmp_path: Path, content: str, name: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)  # where what they name is found
    write(tmp_path / "real.mkv", moving(2))
    (tmp_path / name).write_text(content)
    refused(tmp_path / name, "cannot be read")


@pytest.mark.parametrize(
    "name",
    [
        "a b.mkv",
        "-o.mkv",
        "$(touch x).mkv",
        "film%03d.mkv",
        "http:x.mkv",
        "concat:a|b.mkv",
        "ü\n'\".mkv",
        b"\xff\xfe.mkv",
    ],
)
def test_names_are_taken_literally(tmp_path: Path, name: str | bytes):
    path = tmp_path / os.fsdecode(name)
    write(tmp_path / "plain.mkv", moving(2))
    (tmp_path / "plain.mkv").rename(path)
    target = tmp_path / ("out" + os.fsdecode(name))
    assert made(path, target)[0].frames == 2
    assert sorted(tmp_path.iterdir()) == sorted([path, target])


@pytest.mark.parametrize("share", [0.5, 0.9])
def test_a_cut_mkv_is_made_as_far_as_it_goes_and_what_is_missing_is_said(tmp_path: Path, share: float):
    path = write(tmp_path / "in.mkv", moving(50, height=48, width=64), sound=True)
    outcome, damage, _ = made(cut(path, share), tmp_path / "out.mkv")
    assert 5 < outcome.frames < 50
    if share == 0.5:
        assert "are missing" in damage.missing
        assert "2.0" in damage.missing
    assert see(tmp_path / "out.mkv").seconds == see(path).seconds[: outcome.frames]


def test_a_whole_film_misses_nothing(tmp_path: Path):
    for name in ("in.mkv", "in.mp4"):
        path = write(tmp_path / name, moving(50), codec="libx264", sound=True)
        assert made(path, tmp_path / f"out-{name}")[1].missing == ""


def test_a_cut_mp4_has_lost_its_table_and_is_refused(tmp_path: Path):
    path = write(tmp_path / "in.mp4", moving(10), codec="libx264")
    refused(cut(path, 0.9), "cannot be read|not one frame")


@pytest.mark.parametrize("share", [0.01, 0.1])
def test_almost_nothing_is_refused(tmp_path: Path, share: float):
    path = write(tmp_path / "in.mkv", moving(10))
    refused(cut(path, share), ".")


def corrupt(path: Path, *, codec: str, damaged: list[int], garbage: bool) -> Path:
    """A copy in which packets of the film are overwritten with noise, all but their begin or altogether."""
    copy = path.with_name(f"corrupt-{path.name}")
    random = np.random.default_rng(0)
    with av.open(str(path)) as source, av.open(str(copy), "w") as output:
        stream = output.add_stream_from_template(source.streams.video[0], opaque=True)
        for number, packet in enumerate(p for p in source.demux(source.streams.video[0]) if p.size):
            content = bytes(packet)
            if number in damaged:
                begin = 0 if garbage else len(content) // 4
                content = content[:begin] + random.bytes(len(content) - begin)
            again = av.Packet(content)
            again.pts, again.dts, again.time_base, again.is_keyframe = (
                packet.pts,
                packet.dts,
                packet.time_base,
                packet.is_keyframe,
            )
            again.stream = stream
            output.mux(again)
    return copy


def test_packets_that_cannot_be_decoded_are_dropped_and_counted(tmp_path: Path):
    path = write(tmp_path / "in.mkv", moving(12, height=48, width=64))
    damaged = corrupt(path, codec="ffv1", damaged=[3, 7], garbage=True)
    outcome, damage, _ = made(damaged, tmp_path / "out.mkv")
    assert damage.dropped + damage.patched >= 2
    assert outcome.frames == 12 - damage.dropped
    found = gpsr(damaged, "-o", tmp_path / "again.mkv", "--engine", nearest_onnx(tmp_path))
    assert found.returncode == 0, found.stderr
    assert f"dropped={damage.dropped}" in found.stderr.decode()


@pytest.mark.parametrize("codec", ["libx264", "mpeg4", "libx265"])
def test_damaged_films_of_lossy_codecs_are_made_and_counted(tmp_path: Path, codec: str):
    path = write(tmp_path / "in.mkv", moving(30, height=96, width=128), codec=codec)
    damaged = corrupt(path, codec=codec, damaged=[5, 6, 7, 17], garbage=False)
    outcome, damage, _ = made(damaged, tmp_path / "out.mkv")
    assert damage.dropped + damage.patched > 0 or codec == "libx265"  # whose decoder takes noise for a picture
    assert outcome.frames >= 20


def test_interlaced_films_are_refused_with_the_way_out(tmp_path: Path):
    by_ffmpeg(
        *("-f", "lavfi", "-i", "testsrc=s=96x64:r=25:d=0.4", "-vf", "interlace"),
        *("-c:v", "libx264", "-flags", "+ildct+ilme", tmp_path / "in.mkv"),
    )
    assert "bwdif" in refused(tmp_path / "in.mkv", "interlaced").remedy


def test_alpha_is_refused(tmp_path: Path):
    frames = [(*planes, planes[0]) for planes in moving(2)]
    path = write(tmp_path / "in.mkv", frames, pixel_format="yuva420p")
    assert "yuv420p" in refused(path, "alpha").remedy


def test_a_film_that_changes_its_size_is_refused_where_it_does(tmp_path: Path):
    small, large = io.BytesIO(), io.BytesIO()
    for file, side in ((small, 32), (large, 64)):
        source = ("-f", "lavfi", "-i", f"testsrc=s={side}x{side}:r=25:d=0.4")
        file.write(by_ffmpeg(*source, "-c:v", "mpeg2video", "-f", "mpegts", "-"))
    (tmp_path / "in.ts").write_bytes(small.getvalue() + large.getvalue())
    with pytest.raises(InputUnreadable, match="changes from 32x32"):
        made(tmp_path / "in.ts", tmp_path / "out.mkv")
    assert not (tmp_path / "out.mkv").exists()


def test_headers_that_claim_too_much_are_refused_at_once(tmp_path: Path):
    path = write(tmp_path / "in.mkv", moving(1, height=16, width=16), codec="rawvideo")
    content = path.read_bytes()
    # PixelWidth (B0) and PixelHeight (BA), one byte each, become four.
    assert content.count(b"\xb0\x81\x10") == content.count(b"\xba\x81\x10") == 1
    huge = content.replace(b"\xb0\x81\x10", b"\xb0\x81\xff").replace(b"\xba\x81\x10", b"\xba\x81\xff")
    (tmp_path / "huge.mkv").write_bytes(huge)
    refused(tmp_path / "huge.mkv", ".")
    with pytest.raises(InputUnreadable, match="at most"):
        next(iter(source_of_y4m(b"YUV4MPEG2 W30000 H30000 F25:1\n").frames()))


def source_of_y4m(content: bytes):
    from gpsr_deploy.media.video.y4m import Y4mSource

    return Y4mSource(io.BytesIO(content))


def test_the_output_is_checked_before_the_work(tmp_path: Path):
    path = write(tmp_path / "in.mkv", moving(2))
    backend = Nearest()
    (tmp_path / "there.mkv").write_bytes(b"old")
    (tmp_path / "folder.mkv").mkdir()
    with pytest.raises(OutputUnwritable, match="exists"):
        made(path, tmp_path / "there.mkv", backend=backend)
    with pytest.raises(OutputUnwritable, match="no regular file"):
        made(path, tmp_path / "folder.mkv", backend=backend)
    with pytest.raises(UsageError, match="is the input"):
        made(path, path, backend=backend, overwrite=True)
    assert backend.batches == []
    assert (tmp_path / "there.mkv").read_bytes() == b"old"
    made(path, tmp_path / "there.mkv", overwrite=True)
    assert len(see(tmp_path / "there.mkv").frames) == 2


def test_a_full_disk_ends_it_with_4_and_finished_segments_stay(tmp_path: Path):
    path = write(tmp_path / "in.mkv", moving(40, height=48, width=64))
    arguments = [
        *map(
            str,
            [
                path,
                "-o",
                tmp_path / "out.mkv",
                "--engine",
                nearest_onnx(tmp_path),
                "--segment-frames",
                "4",
                "--crf",
                "10",
            ],
        )
    ]
    ended = gpsr(*arguments, largest_file=40_000)
    assert ended.returncode == 4, ended.stderr
    assert b"Traceback" not in ended.stderr
    assert not (tmp_path / "out.mkv").exists()
    finished = list(segments.folder_of(tmp_path / "out.mkv").glob("*.mkv"))
    assert finished  # each is small, and only the whole film is too large
    resumed = gpsr(*arguments, "--resume", "--json")
    assert resumed.returncode == 0, resumed.stderr
    assert len(see(tmp_path / "out.mkv").frames) == 40


def test_streams_that_do_not_fit_are_named(tmp_path: Path):
    path = write(tmp_path / "in.mkv", moving(2), subtitles=True)
    with container.opened(path) as source:
        assert container.main_stream(source).type == "video"
    found = gpsr(path, "-o", tmp_path / "out.mp4", "--engine", nearest_onnx(tmp_path))
    assert found.returncode == 4
    assert "--no-subtitles" in found.stderr.decode()
    assert gpsr(path, "-o", tmp_path / "out.mp4", "--engine", nearest_onnx(tmp_path), "--no-subtitles").returncode == 0


def test_a_cover_is_no_film_and_goes_along(tmp_path: Path):
    path = write(tmp_path / "plain.mp4", moving(6), codec="libx264", sound=True)
    by_ffmpeg("-f", "lavfi", "-i", "color=red:s=16x16:d=1:r=1", "-frames:v", "1", tmp_path / "cover.png")
    by_ffmpeg(
        *("-i", tmp_path / "cover.png", "-i", path, "-map", "0", "-map", "1", "-c", "copy"),
        *("-disposition:v:0", "attached_pic", tmp_path / "in.mp4"),
    )
    with source_of(tmp_path / "in.mp4") as source:
        assert (source.format.height, source.format.width) == (18, 24)
    made(tmp_path / "in.mp4", tmp_path / "out.mkv")
    assert len(see(tmp_path / "out.mkv").frames) in (6, 7)


def test_sound_with_a_cover_is_no_film(tmp_path: Path):
    path = write(tmp_path / "film.mp4", moving(6), codec="libx264", sound=True)
    by_ffmpeg(
        *("-f", "lavfi", "-i", "color=red:s=16x16:d=1:r=1", "-i", path, "-map", "1:a", "-map", "0", "-frames:v", "1"),
        *("-c:a", "copy", "-c:v", "png", "-disposition:v:0", "attached_pic", tmp_path / "in.m4a"),
    )
    refused(tmp_path / "in.m4a", "only a cover and audio")


def test_films_without_times_get_their_rate(tmp_path: Path):
    path = write(tmp_path / "in.mkv", moving(5), codec="libx264")
    by_ffmpeg("-i", path, "-c", "copy", "-bsf:v", "h264_mp4toannexb", "-f", "h264", tmp_path / "in.h264")
    made(tmp_path / "in.h264", tmp_path / "out.mkv")
    assert see(tmp_path / "out.mkv").seconds == tuple(Fraction(n, 25) for n in range(5))


def test_sound_that_the_container_refuses_costs_its_packets_and_not_the_film(tmp_path: Path):
    content = bytearray(write(tmp_path / "in.ts", moving(20), codec="libx264", sound=True).read_bytes())
    # Of ADTS frames of AAC-LC in mono at 48 kHz: with these bits too it is not found in the picture's data by chance.
    begins = [found.start() for found in re.finditer(rb"\xff\xf1\x4c[\x40-\x43]", content)]
    for begin in begins[5:8]:
        content[begin + 2 : begin + 7] = bytes(5)
    (tmp_path / "damaged.ts").write_bytes(content)
    outcome, *_ = made(tmp_path / "damaged.ts", tmp_path / "out.mkv")
    assert (outcome.frames, outcome.refused) == (20, 2)
    whole, found = (see(tmp_path / name).packets["audio"] for name in ("in.ts", "out.mkv"))
    assert 20 < len(found) < len(whole)
