"""Fuzzes y4m: headers and frames of streams from other programs.

python tests/fuzz/fuzz_y4m.py tests/fuzz/corpus/y4m -max_total_time=60
"""

import io

import harness

with harness.watched():
    from gpsr_deploy.errors import InputUnreadable, OutputUnwritable
    from gpsr_deploy.media.video import y4m

LARGEST = 1 << 20
"""Samples of a frame that is read here: a header may claim millions, which are honest work."""


def target(data: bytes) -> None:
    """Any bytes are frames of the size that the header tells, or one printable refusal; what can be written is read again."""
    try:
        source = y4m.Y4mSource(io.BytesIO(data))
        format = source.format
        if format.height * format.width > LARGEST:
            return
        frames = list(source.frames())
    except InputUnreadable as error:
        assert str(error).isprintable()
        return
    sizes = list(format.coding.sizes(format.height, format.width))
    assert all([plane.shape for plane in frame.planes] == sizes for frame in frames)
    out = io.BytesIO()
    try:
        sink = y4m.Y4mSink(out, format)
    except OutputUnwritable:
        return
    for frame in frames:
        sink.write(frame.planes, frame.pts)
    again = y4m.Y4mSource(io.BytesIO(out.getvalue()))
    assert (again.format.height, again.format.width, again.format.rate) == (format.height, format.width, format.rate)
    for one, other in zip(frames, again.frames(), strict=True):
        assert all((a == b).all() for a, b in zip(one.planes, other.planes, strict=True))


if __name__ == "__main__":
    harness.run(target)
