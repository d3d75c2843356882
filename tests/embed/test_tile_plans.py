"""How pictures are cut into tiles in C++: as in Python, or refused alike."""

import dataclasses
import functools
import json
import random
from types import SimpleNamespace

import plans
from cpp import probe

from gpsr_deploy.errors import GpsrError
from gpsr_deploy.spec import Profile
from gpsr_deploy.upscaling import tiles, upscale


def spans(axis):
    return [[span.start, span.stop, span.keep_start, span.keep_stop] for span in axis]


def same_or_refused(line, python):
    """Whether C++ gives what the call of Python gives, or refuses it by the same code."""
    try:
        expected = python()
    except GpsrError as error:
        return line.startswith(f"error[{error.exit_code}] {error.message}")
    return json.loads(line) == expected


def test_tile_plans_are_those_of_python_on_a_thousand_random_sizes(built):
    draw, cases, planned = random.Random(1), [], 0
    for _ in range(1000):
        step = draw.choice([1, 2, 3, 3, 3, 4])
        halo = step * draw.choice([0, 1, 4, 8, 12])
        tile = [2 * halo + step * draw.randint(-1, 60) + draw.choice([0, 0, 0, 0, 1]) for _ in range(2)]
        cases.append((draw.randint(0, 900) or 5000, draw.randint(1, 900), *tile, halo, step))

    def python(height, width, tile_height, tile_width, halo, step):
        plan = tiles.plan(height, width, tile=(tile_height, tile_width), halo=halo, multiple_of=step)
        return [spans(plan.rows), spans(plan.cols)]

    for case, line in zip(cases, probe(built, "plan", [" ".join(map(str, case)) for case in cases]), strict=True):
        assert same_or_refused(line, functools.partial(python, *case)), (case, line)
        planned += not line.startswith("error")
    assert 500 < planned < 1000


def test_the_tiles_that_fit_into_memory_are_those_of_python(built):
    draw, cases = random.Random(2), []
    for _ in range(300):
        step = draw.choice([1, 3, 3, 4])
        most = draw.choice([1, 1000, 10_000, 150_000, 10**7])
        cases.append(
            (
                draw.randint(1, 3000),
                draw.randint(1, 3000),
                step * draw.randint(0, 12),
                step,
                most,
                draw.choice([1, 3, 24]),
            )
        )

    def python(height, width, halo, step, most, keep):
        return list(tiles.fit(height, width, halo=halo, multiple_of=step, max_pixels=most, min_keep=keep))

    for case, line in zip(cases, probe(built, "fit", [" ".join(map(str, case)) for case in cases]), strict=True):
        assert same_or_refused(line, functools.partial(python, *case)), (case, line)


def test_pictures_are_cut_as_python_cuts_them(built):
    """Whatever is asked for, by the memory at hand or an engine's profile."""
    draw, cases, calls = random.Random(3), [], []
    for _ in range(500):
        step, maybe = draw.choice([1, 3, 3, 4]), lambda value: draw.choice([None, value])
        size = draw.randint(1, 1500), draw.randint(1, 1500)
        tile = maybe((draw.randint(1, 400), draw.randint(1, 400)))
        tiling = upscale.Tiling(
            tile=tile, halo=maybe(draw.randint(0, 40)), whole=draw.random() < 0.1, batch=maybe(draw.randint(1, 6))
        )
        sides = [[step * side for side in sorted(draw.choices(range(1, 200), k=3))] for _ in range(2)]
        low, best, high = zip(*sides, strict=True)
        profile = maybe(Profile(min=low, opt=best, max=high, batch=draw.randint(1, 5)))
        spec = dataclasses.replace(
            plans.SR, multiple_of=step, halo=step * draw.randint(0, 12), tiling=draw.choice(["aligned"] * 9 + ["whole"])
        )
        backend = SimpleNamespace(spec=spec, profile=profile, bytes_per_pixel=draw.choice([1000, 6720, 90_000]))
        available = draw.choice([1 << 24, 1 << 28, 1 << 34])
        calls.append((backend, size, tiling, available))
        words = [*size, *(tile or "--"), tiling.halo, int(tiling.whole), tiling.batch, available]
        words += [spec.halo, step, spec.tiling, backend.bytes_per_pixel]
        words += [*low, *best, *high, profile.batch] if profile else [None]
        cases.append(" ".join("-" if word is None else str(word) for word in words))

    def python(backend, size, tiling, available):
        plan, halo = upscale.plan_for(backend, *size, tiling=tiling, available=available)
        most = backend.profile.batch if backend.profile else tiling.batch or 1
        return [spans(plan.rows), spans(plan.cols), halo, min(tiling.batch or most, most)]

    lines = probe(built, "cut", cases)
    for case, call, line in zip(cases, calls, lines, strict=True):
        assert same_or_refused(line, functools.partial(python, *call)), (case, line)
    assert 100 < sum(line.startswith("error") for line in lines) < 400
