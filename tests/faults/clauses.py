"""The classes of faults that a user can meet, and the clauses of each: what the lists of faults, or tests elsewhere, provoke."""

from __future__ import annotations

CLAUSES: dict[str, tuple[str, ...]] = {
    "pictures": (
        "zero bytes",
        "cut",
        "a flipped byte",
        "a header bomb",
        "too many pixels for the output",
        "small sizes",
        "more than a format holds",
        "larger than the free disk",
        "sixteen bits",
        "palettes, transparency, few bits",
        "garbage under alpha",
        "EXIF orientation",
        "ICC profiles",
        "several frames",
        "another format under a name",
        "no picture, and nothing in it runs",
        "a picture that contradicts itself",
        "kinds of samples that are not read",
    ),
    "paths": (
        "a missing file",
        "folders for files",
        "a folder with junk",
        "unreadable",
        "unwritable, before inference",
        "the output exists",
        "the output is the input",
        "names",
        "no regular file",
        "links",
        "a journal",
        "a folder that is interrupted",
    ),
    "process": (
        "stdout or stderr closed, full or gone",
        "a full disk",
        "SIGINT and SIGTERM",
        "SIGKILL",
        "two processes with one output",
        "out of memory",
        "an odd environment",
        "words that contradict each other",
    ),
    "models": (
        "a pickle",
        "weights of another network",
        "another scale",
        "NaN in weights",
        "fp16 overflow",
        "a hostile safetensors header",
        "external data",
        "an unknown operator",
        "a damaged model",
        "a hostile spec",
        "a non-finite result",
        "a model that is not what it says",
    ),
    "engines": (
        "a damaged plan",
        "another TensorRT or GPU",
        "no sidecar",
        "a hostile sidecar",
        "no driver",
        "an engine that cannot be built",
        "an engine that cannot be written",
    ),
    "video": (
        "no film",
        "a playlist",
        "a cut film, damaged packets",
        "times, sound, colours kept",
        "y4m that is cut or lies",
        "the reader of a pipe",
        "a film that cannot be written",
        "a film that is killed, and resumed",
    ),
    "training": (
        "kill and resume",
        "a corrupt last checkpoint",
        "another configuration",
        "a loss that is not finite",
        "a corrupt training picture",
        "signals to training",
        "training that cannot write",
        "words for training that contradict each other",
    ),
    "export": (
        "a checkpoint that cannot be exported",
        "an export that cannot be written",
        "signals to an export",
    ),
}

ELSEWHERE: dict[str, tuple[str, ...]] = {
    "too many pixels for the output": ("media/images/test_check_output.py::test_output_pixels_have_a_limit",),
    "garbage under alpha": ("faults/test_whole_runs.py::test_flat_alpha_stays_flat_and_hidden_colours_do_not_show",),
    "SIGKILL": (
        "faults/test_kills.py::test_killed_at_any_moment_no_file_is_half_and_a_later_run_cleans_up",
        "media/images/test_writing.py::test_a_kill_leaves_only_what_the_next_run_clears",
    ),
    "a folder that is interrupted": (
        "pictures/test_journal.py::test_a_killed_run_goes_on_where_it_ended_and_gives_the_same_files",
    ),
    "two processes with one output": (
        "faults/test_whole_runs.py::test_two_processes_with_one_output_give_one_whole_result",
    ),
    "fp16 overflow": ("export/test_to_onnx.py::test_weights_that_overflow_in_fp16_leave_no_file",),
    "a cut film, damaged packets": (
        "films/test_faults.py::test_a_cut_mkv_is_made_as_far_as_it_goes_and_what_is_missing_is_said",
        "films/test_faults.py::test_packets_that_cannot_be_decoded_are_dropped_and_counted",
    ),
    "times, sound, colours kept": (
        "films/test_film.py::test_times_are_kept_exactly",
        "films/test_film.py::test_sound_is_copied_packet_by_packet",
        "films/test_film.py::test_odd_sizes_are_kept",
        "media/video/test_colour.py::test_untagged_films_go_by_their_size",
    ),
    "a film that is killed, and resumed": (
        "media/video/test_segments.py::test_after_kill_9_resume_gives_the_film_of_a_run_that_was_not_killed",
        "media/video/test_segments.py::test_resume_with_another_input_or_engine_or_option_is_refused_with_the_difference",
    ),
    "another TensorRT or GPU": (
        "model_files/test_engine_here.py::test_another_release_is_refused_with_both_and_the_command",
        "model_files/test_engine_here.py::test_another_gpu_is_refused_with_both_and_the_command",
    ),
    "kill and resume": (
        "train/test_resume.py::test_a_process_killed_with_sigkill_and_resumed_gives_the_same_bits",
        "train/test_resume.py::test_a_run_killed_and_resumed_gives_the_same_bits",
        "faults/test_kills.py::test_killed_at_any_moment_no_file_is_half_and_a_later_run_cleans_up",
    ),
    "a loss that is not finite": (
        "train/test_not_finite.py::test_a_step_whose_loss_is_not_finite_is_skipped_and_counted",
        "train/test_not_finite.py::test_a_loss_that_stays_not_finite_stops_the_run",
    ),
}
"""Clauses that need more than one process and one folder: the tests that provoke them, under tests/."""


def class_of(clause: str) -> str:
    """The class that a clause belongs to."""
    return next(name for name, clauses in CLAUSES.items() if clause in clauses)
