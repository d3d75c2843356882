"""Which picture goes where."""

import os
from pathlib import Path

import pytest

from gpsr_deploy.errors import InputUnreadable, UsageError
from gpsr_deploy.pictures import jobs


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("a.png", "b.JPG", "notes.txt", ".hidden.png", "sub/c.webp", "sub/deep/d.gif"):
        path = tmp_path / "shots" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return tmp_path / "shots"


def targets(found: jobs.Jobs) -> list[str]:
    return [str(job.target) for job in found.jobs]


def test_one_file_goes_beside_itself_under_a_new_name(folder: Path):
    found = jobs.collect([str(folder / "a.png")], scale=4)
    assert targets(found) == [str(folder / "a_x4.png")]
    assert found.single


def test_one_file_goes_exactly_where_it_is_told(folder: Path, tmp_path: Path):
    assert targets(jobs.collect([str(folder / "a.png")], output=tmp_path / "new.webp", scale=4)) == [
        str(tmp_path / "new.webp")
    ]


def test_a_folder_as_output_keeps_names(folder: Path, tmp_path: Path):
    assert targets(jobs.collect([str(folder / "a.png")], output=tmp_path, scale=4)) == [str(tmp_path / "a.png")]


def test_a_folder_gives_its_pictures_and_nothing_else(folder: Path):
    found = jobs.collect([str(folder)], scale=4)
    assert targets(found) == [str(folder / "a_x4.png"), str(folder / "b_x4.JPG")]
    assert not found.single


def test_recursion_lays_subfolders_out_alike_and_unwritable_formats_become_png(folder: Path, tmp_path: Path):
    found = jobs.collect([str(folder)], output=tmp_path / "out", recursive=True, scale=4)
    assert targets(found) == [
        str(tmp_path / "out" / name) for name in ("a.png", "b.JPG", "sub/c.webp", "sub/deep/d.png")
    ]


def test_what_an_earlier_run_wrote_is_no_input(folder: Path):
    (folder / "a_x4.png").touch()
    assert [job.source.name for job in jobs.collect([str(folder)], scale=4).jobs] == ["a.png", "b.JPG"]


def test_a_pattern_finds_files_and_a_literal_name_wins(folder: Path):
    assert [job.source.name for job in jobs.collect([str(folder / "*.png")], scale=4).jobs] == ["a.png"]
    literal = folder / "[1]*.png"
    literal.touch()
    assert [job.source for job in jobs.collect([str(literal)], scale=4).jobs] == [literal]


@pytest.mark.parametrize(
    "name",
    [
        "with space.png",
        "quote'\".png",
        "$(reboot).png",
        "new\nline.png",
        "-dash.png",
        "🐱.png",
        os.fsdecode(b"\xff\xfe.png"),
    ],
)
def test_names_are_taken_literally(tmp_path: Path, name: str):
    path = tmp_path / name
    path.touch()
    found = jobs.collect([str(path)], scale=4).jobs[0]
    assert found.source == path
    assert found.target.name == f"{path.stem}_x4.png"


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"inputs": ["{f}"], "output": "{f}/a.png"}, UsageError),
        ({"inputs": ["{f}/a.png", "{f}/b.JPG"], "output": "{f}/new.png"}, UsageError),
        ({"inputs": ["{f}/a.png"], "output": "{f}/a.png"}, UsageError),
        ({"inputs": ["{f}/a.png"], "output": "{f}"}, UsageError),
        ({"inputs": ["{f}/a.png"], "suffix": ""}, UsageError),
        ({"inputs": ["{f}/a.png"], "suffix": "/../x"}, UsageError),
        ({"inputs": ["{f}/a.png"], "extension": "bmp"}, UsageError),
        ({"inputs": ["{f}/*.nothing"]}, InputUnreadable),
        ({"inputs": ["{f}/sub/deep/.."], "recursive": False, "output": "{f}/sub/deep/.."}, UsageError),
    ],
)
def test_contradictions_are_refused(folder: Path, arguments: dict, error: type):
    def fill(value):
        return [v.format(f=folder) for v in value] if isinstance(value, list) else value

    arguments = {key: fill(value) for key, value in arguments.items()}
    if "output" in arguments:
        arguments["output"] = Path(arguments["output"].format(f=folder))
    with pytest.raises(error):
        jobs.collect(**arguments, scale=4)


def test_the_output_is_the_input_also_through_a_link(folder: Path):
    (folder / "link.png").symlink_to(folder / "a.png")
    with pytest.raises(UsageError):
        jobs.collect([str(folder / "a.png")], output=folder / "link.png", scale=4)
    with pytest.raises(UsageError):
        jobs.collect([str(folder / "a.png"), str(folder / "b.JPG")], output=folder, scale=4)


def test_an_empty_folder_is_an_error(tmp_path: Path):
    with pytest.raises(InputUnreadable):
        jobs.collect([str(tmp_path)], scale=4)


def test_a_named_input_is_never_overwritten_by_another(folder: Path):
    (folder / "a_x4.png").touch()
    with pytest.raises(UsageError, match="is an input"):
        jobs.collect([str(folder / "a.png"), str(folder / "a_x4.png")], scale=4)


def test_a_slash_makes_a_folder_of_an_output_that_is_not_there(folder: Path):
    found = jobs.collect([str(folder / "a.png")], output=f"{folder}/new/", scale=4)
    assert targets(found) == [str(folder / "new" / "a.png")]


def test_an_output_folder_inside_the_input_is_not_read_again(folder: Path):
    (folder / "out").mkdir()
    (folder / "out" / "a.png").touch()
    found = jobs.collect([str(folder)], output=str(folder / "out"), recursive=True, scale=4)
    assert [job.source.name for job in found.jobs] == ["a.png", "b.JPG", "c.webp", "d.gif"]


def test_an_input_inside_the_output_folder_is_read(folder: Path):
    found = jobs.collect([str(folder / "sub")], output=str(folder), scale=4)
    assert targets(found) == [str(folder / "c.webp")]


def test_a_picture_named_twice_is_done_once(folder: Path):
    assert len(jobs.collect([str(folder / "a.png")] * 2, scale=4).jobs) == 1


def test_one_input_that_gives_nothing_does_not_stop_the_others(folder: Path):
    found = jobs.collect([str(folder / "a.png"), str(folder / "*.nothing")], scale=4)
    assert len(found.jobs) == len(found.unread) == 1


@pytest.mark.parametrize("arguments", [{"inputs": [""]}, {"inputs": ["a.png"], "output": ""}])
def test_an_empty_name_is_refused(arguments: dict):
    with pytest.raises(UsageError, match="empty"):
        jobs.collect(**arguments, scale=4)


@pytest.mark.parametrize("option", [{"extension": "jpg"}, {"suffix": "_big"}])
def test_a_named_output_and_a_pattern_for_names_contradict(folder: Path, option: dict):
    with pytest.raises(UsageError):
        jobs.collect([str(folder / "a.png")], output=str(folder / "out.png"), **option, scale=4)


def test_a_name_that_is_too_long_is_left_to_the_reader(tmp_path: Path):
    path = tmp_path / ("n" * 300)
    assert jobs.collect([str(path)], scale=4).jobs[0].source == path
