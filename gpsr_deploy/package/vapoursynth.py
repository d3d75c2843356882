"""Scripts for VapourSynth with vs-mlrt: its trt, trt_rtx and ort, whose overlap has units of its own."""

from __future__ import annotations

from gpsr_deploy.package.source import Source, facts, model_files
from gpsr_deploy.package.template import File, render
from gpsr_deploy.upscaling.tiles import round_up

PLUGINS = {
    "tensorrt": ("trt", "engine_path"),
    "tensorrt-rtx": ("trt_rtx", "engine_path"),
    None: ("ort", "network_path"),
}
"""Name of vs-mlrt's plugin and of its argument for the model, by the engine's runtime; None: an ONNX model."""


def overlap(source: Source) -> int:
    """What vs-mlrt has to be told so that each kept pixel has `sr.halo` LR pixels of context on every side.

    Its tiles follow each other by `tile - 2 * overlap` LR pixels, and `overlap` SR pixels are cut from the sides of their
    results: towards the tile before, overlap / scale LR pixels of context count. A multiple of `sr.multiple_of`, as the halo is.
    """
    return source.sr.halo * source.sr.scale


def files(source: Source) -> dict[str, File]:
    """By name."""
    engine, profile, step = source.engine, source.profile, source.sr.multiple_of
    plugin, argument = PLUGINS[engine.runtime if engine is not None else None]
    values = {
        "FILE": source.file,
        "SHA256": source.sha256,
        "PLUGIN": plugin,
        "ARGUMENT": argument,
        "SCALE": source.sr.scale,
        "MULTIPLE_OF": step,
        "HALO": source.sr.halo,
        "OVERLAP": overlap(source),
        "MIN_HEIGHT": round_up(profile.min[0], step),
        "MIN_WIDTH": round_up(profile.min[1], step),
        "MAX_HEIGHT": profile.max[0] // step * step,
        "MAX_WIDTH": profile.max[1] // step * step,
        "CUTS": source.sr.tiling == "aligned",
        "LARGER_FRAMES": (
            f"are cut into tiles with an overlap of {overlap(source)}"
            if source.sr.tiling == "aligned" and min(profile.max) >= 2 * overlap(source) + step
            else f"are refused: an overlap of {overlap(source)} does not fit into what the engine takes"
        ),
        "LIMIT": "what the memory for a tile allows" if engine is None else "what the engine was built for",
        "LARGER": "tile=(HEIGHT, WIDTH)" if engine is None else "an engine with a larger --max",
        "NEEDS": (
            "pip install vapoursynth vapoursynth-mlrt-ort vapoursynth-bestsource"
            if engine is None
            else f"VapourSynth with {plugin} of vs-mlrt, of the release with {engine.runtime} "
            f"{'.'.join(engine.runtime_version.split('.')[:3])}, and BestSource"
        ),
        "TRIED": (
            "With vapoursynth-mlrt-ort on a CPU these scripts are run by tests of gpsr-deploy."
            if engine is None
            else f"Unrun: the tests of gpsr-deploy run these scripts with ort of vs-mlrt, not with {plugin}."
        ),
    }
    header = facts(source, "vapoursynth")
    made = {
        name: render(f"vapoursynth/{name}", values, header=header)
        for name in ("gpsr_vapoursynth.py", "film.vpy", "README.md")
    }
    return made | {name: File(content=content) for name, content in model_files(source, source.file).items()}
