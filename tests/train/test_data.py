"""Training pictures: which of a folder, of shards or of DIV2K are taken for what, and what they are made into."""

import io
import tarfile
import zipfile
from pathlib import Path

import cv2
import matlab
import numpy as np
import pytest
from project import DATA

import data
from gpsr_deploy.errors import InputUnreadable


def png(pixels):
    return cv2.imencode(".png", pixels[:, :, ::-1] if pixels.ndim == 3 else pixels)[1].tobytes()


def write_tar(path, members):
    with tarfile.open(path, "w") as tar:
        for name, encoded in members.items():
            header = tarfile.TarInfo(name)
            header.size = len(encoded)
            tar.addfile(header, io.BytesIO(encoded))


def write_zip(path, members):
    with zipfile.ZipFile(path, "w") as archive:
        for name, encoded in members.items():
            archive.writestr(name, encoded)


@pytest.fixture(scope="module")
def pictures(photo):
    """Name and pixels of four small pictures; 50 and 62 are no multiples of 4."""
    return {
        f"{name}.png": photo[top : top + 50, top : top + 62]
        for name, top in zip("abcd", (0, 60, 120, 190), strict=True)
    }


@pytest.fixture(scope="module")
def encoded(pictures):
    return {name: png(pixels) for name, pixels in pictures.items()}


def folder(path, encoded):
    for name, content in encoded.items():
        (path / name).write_bytes(content)
    return path


def archive_in_no_order(encoded):
    return {f"some/{name}": encoded[name] for name in sorted(encoded, reverse=True)}


def sources(tmp_path, encoded):
    """The same pictures as a folder and as archives."""
    members = archive_in_no_order(encoded)
    write_tar(tmp_path / "one.tar", members)
    write_zip(tmp_path / "one.zip", members)
    inside = tmp_path / "folder"
    (inside / "some").mkdir(parents=True)
    folder(inside / "some", encoded)
    return inside, tmp_path / "one.tar", tmp_path / "one.zip"


def names(photographs):
    return [Path(photograph.name).name for photograph in photographs]


@pytest.mark.parametrize("degradation", ["bi", "bd", "bd7"])
def test_pictures_come_in_order_cropped_to_the_scale_with_their_lr(tmp_path, pictures, encoded, degradation):
    for source in sources(tmp_path, encoded):
        split = data.read_split(source, scale=4, degradation=degradation)
        assert split.left_out == []
        assert names(split.validation) == ["a.png"]
        assert names(split.training) == ["b.png", "c.png", "d.png"]
        for photograph in split.training:
            hr = pictures[Path(photograph.name).name][:48, :60]
            assert np.array_equal(photograph.hr.permute(1, 2, 0).numpy(), hr)
            match degradation:
                case "bi":
                    wanted = matlab.imresize(hr / 255.0, 4)
                case "bd":
                    wanted = matlab.imfilter_gaussian(hr / 255.0, 12, 1.6)[1::4, 1::4]
                case "bd7":
                    wanted = matlab.imresize(matlab.imfilter_gaussian(hr / 255.0, 7, 1.6), 4)
            assert np.array_equal(photograph.lr.permute(1, 2, 0).numpy(), matlab.to_8_bit(wanted))


def test_of_shards_the_last_validates(tmp_path, encoded):
    write_tar(tmp_path / "0.tar", {name: encoded[name] for name in ("c.png", "a.png", "b.png")})
    write_tar(tmp_path / "1.tar", {"d.png": encoded["d.png"]})
    split = data.read_split(tmp_path, scale=4)
    assert names(split.training) == ["a.png", "b.png", "c.png"]
    assert names(split.validation) == ["d.png"]


@pytest.mark.parametrize("zipped", [True, False], ids=["zips", "folders"])
def test_of_div2k_as_downloaded_the_hr_pictures_train_and_the_valid_ones_validate(tmp_path, encoded, zipped):
    """The LR folders that come with it are no HR pictures, whatever they are called."""
    parts = {
        "DIV2K_train_HR": ["a.png", "b.png"],
        "DIV2K_valid_HR": ["c.png"],
        "DIV2K_train_LR_bicubic": ["d.png"],
        "DIV2K_valid_LR_bicubic": ["d.png"],
    }
    for part, members in parts.items():
        if zipped:
            write_zip(tmp_path / f"{part}.zip", {f"{part}/{name}": encoded[name] for name in members})
        else:
            (tmp_path / part / "X4").mkdir(parents=True)
            folder(tmp_path / part / "X4", {name: encoded[name] for name in members})
    split = data.read_split(tmp_path, scale=4)
    assert names(split.training) == ["a.png", "b.png"]
    assert names(split.validation) == ["c.png"]


def test_validation_pictures_can_be_named_and_then_all_others_train(tmp_path, encoded):
    (tmp_path / "train").mkdir()
    (tmp_path / "valid").mkdir()
    folder(tmp_path / "train", {name: encoded[name] for name in ("a.png", "b.png")})
    folder(tmp_path / "valid", {"d.png": encoded["d.png"]})
    split = data.read_split(tmp_path / "train", scale=4, validation=tmp_path / "valid")
    assert names(split.training) == ["a.png", "b.png"]
    assert names(split.validation) == ["d.png"]


@pytest.mark.parametrize("kind", ["shards", "DIV2K"])
def test_validation_pictures_can_lie_in_whatever_training_pictures_can(tmp_path, encoded, kind):
    for part in ("train", "valid"):
        (tmp_path / part).mkdir()
    folder(tmp_path / "train", {name: encoded[name] for name in ("a.png", "b.png")})
    if kind == "shards":
        write_tar(tmp_path / "valid" / "0.tar", {"c.png": encoded["c.png"]})
        write_tar(tmp_path / "valid" / "1.tar", {"d.png": encoded["d.png"]})
    else:
        write_zip(tmp_path / "valid" / "DIV2K_train_HR.zip", {"a.png": encoded["a.png"]})
        write_zip(tmp_path / "valid" / "DIV2K_valid_HR.zip", {name: encoded[name] for name in ("c.png", "d.png")})
    split = data.read_split(tmp_path / "train", scale=4, validation=tmp_path / "valid")
    assert names(split.training) == ["a.png", "b.png"]
    assert names(split.validation) == ["c.png", "d.png"]


def test_validation_pictures_are_the_middles_of_large_ones_and_32_at_most(tmp_path, photo, encoded):
    (tmp_path / "train").mkdir()
    (tmp_path / "valid").mkdir()
    folder(tmp_path / "train", encoded)
    large = np.tile(photo, (3, 3, 1))[:700, :500]
    folder(tmp_path / "valid", {f"{number:02}.png": png(large) for number in range(33)})
    split = data.read_split(tmp_path / "train", scale=4, validation=tmp_path / "valid")
    assert len(split.validation) == data.VALIDATION_PICTURES
    first = split.validation[0]
    top, left = (700 // 4 - 120) // 2 * 4, (500 // 4 - 120) // 2 * 4
    assert np.array_equal(first.hr.permute(1, 2, 0).numpy(), large[top : top + 480, left : left + 480])
    assert first.lr.shape == (3, 120, 120)
    assert first.hr.untyped_storage().nbytes() == first.hr.numel()  # and do not keep the large one in memory


def test_a_fingerprint_tells_other_names_sizes_and_orders_apart_but_not_places(tmp_path, encoded, pictures):
    def fingerprint(name, members):
        write_zip(tmp_path / f"{name}.zip", members)
        return data.read_split(tmp_path / f"{name}.zip", scale=4).fingerprint

    first = fingerprint("first", encoded)
    assert fingerprint("moved", {f"inside/{name}": content for name, content in encoded.items()}) == first
    others = [
        fingerprint("fewer", {name: encoded[name] for name in ("a.png", "b.png", "c.png")}),
        fingerprint("renamed", {name.replace("d", "e"): content for name, content in encoded.items()}),
        fingerprint("smaller", encoded | {"d.png": png(pictures["d.png"][:40])}),
        fingerprint("order", {f"{'dcba'.index(name[0])}/{name}": content for name, content in encoded.items()}),
    ]
    assert len({first, *others}) == 5


def test_what_cannot_be_decoded_or_is_too_small_is_left_out_and_listed(tmp_path, pictures, encoded):
    folder(tmp_path, encoded)
    (tmp_path / "cut.png").write_bytes(encoded["a.png"][:-2000])
    (tmp_path / "text.png").write_text("not a picture")
    (tmp_path / "empty.jpg").touch()
    (tmp_path / "low.png").write_bytes(png(pictures["a.png"][:3, :40]))
    (tmp_path / "narrow.png").write_bytes(png(pictures["a.png"][:, :24]))
    (tmp_path / "notes.txt").write_text("no picture by its name: passed over")
    split = data.read_split(tmp_path, scale=4, smallest=9)
    assert len(split.training) + len(split.validation) == len(pictures)
    assert sorted(split.left_out) == ["cut.png", "empty.jpg", "low.png", "narrow.png", "text.png"]


@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED], ids=["stored", "deflated"])
@pytest.mark.parametrize("place", ["content", "header"])
def test_a_damaged_picture_of_a_zip_is_left_out_and_listed(tmp_path, encoded, compression, place):
    path = tmp_path / "x.zip"
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, content in encoded.items():
            archive.writestr(name, content)
        begin = archive.getinfo("c.png").header_offset
    damaged = bytearray(path.read_bytes())
    begin += 60 if place == "content" else 0
    damaged[begin : begin + 20] = bytes(byte ^ 0x55 for byte in damaged[begin : begin + 20])
    path.write_bytes(damaged)
    split = data.read_split(path, scale=4)
    assert split.left_out == ["c.png"]
    assert names(split.validation + split.training) == ["a.png", "b.png", "d.png"]


def test_a_picture_of_a_zip_that_is_encrypted_is_left_out_and_listed(tmp_path, encoded):
    write_zip(tmp_path / "x.zip", encoded)
    content = bytearray((tmp_path / "x.zip").read_bytes())
    entry = content.rindex(b"PK\x01\x02")  # of the last picture, in the directory; bit 0 of its flags says encrypted
    content[entry + 8] |= 1
    (tmp_path / "x.zip").write_bytes(content)
    assert data.read_split(tmp_path / "x.zip", scale=4).left_out == ["d.png"]


def test_a_picture_of_a_folder_that_cannot_be_read_is_left_out_and_listed(tmp_path, encoded, monkeypatch):
    read = Path.read_bytes

    def refused(path):
        if path.name == "c.png":
            raise PermissionError(13, "Permission denied")
        return read(path)

    folder(tmp_path, encoded)
    monkeypatch.setattr(Path, "read_bytes", refused)
    assert data.read_split(tmp_path, scale=4).left_out == ["c.png"]


@pytest.mark.parametrize("damage", ["flipped header", "cut"])
def test_a_damaged_tar_is_refused_and_not_taken_for_a_shorter_one(tmp_path, encoded, damage):
    path = tmp_path / "x.tar"
    write_tar(path, encoded)
    content = bytearray(path.read_bytes())
    with tarfile.open(path) as tar:
        third = tar.getmember("c.png")
    if damage == "cut":
        del content[third.offset_data + 100 :]
    else:
        content[third.offset + 20] ^= 1
    path.write_bytes(content)
    with pytest.raises(InputUnreadable, match="again"):
        data.read_split(path, scale=4)


def test_grey_and_16_bit_pictures_become_8_bit_rgb(tmp_path, photo, encoded):
    folder(tmp_path, encoded)
    grey = photo[:48, :60, 1]
    (tmp_path / "y.png").write_bytes(png(grey))
    (tmp_path / "z.png").write_bytes(png(photo[:48, :60].astype(np.uint16) * 257))
    found = {photograph.name: photograph for photograph in data.read_split(tmp_path, scale=4).training}
    assert np.array_equal(found["y.png"].hr.numpy(), np.stack([grey] * 3))
    assert np.array_equal(found["z.png"].hr.permute(1, 2, 0).numpy(), photo[:48, :60])


@pytest.mark.slow
@pytest.mark.parametrize("scale", [4, 8])
def test_lr_of_set5_in_training_is_matlabs_to_the_last_pixel(scale):
    if not DATA.is_dir():
        pytest.skip(f"the test sets are not here: no folder {DATA}")
    split = data.read_split(DATA / "Set5", scale=scale, validation=DATA / "Set5")
    assert len(split.training) == 5
    for photograph in split.training:
        wanted = matlab.to_8_bit(matlab.imresize(photograph.hr.permute(1, 2, 0).numpy() / 255.0, scale))
        assert np.count_nonzero(photograph.lr.permute(1, 2, 0).numpy() != wanted) == 0, photograph.name


@pytest.mark.parametrize("what", ["empty folder", "missing", "text file", "broken tar", "broken zip", "one picture"])
def test_what_cannot_train_is_an_unreadable_input(tmp_path, encoded, what):
    path = tmp_path
    match what:
        case "missing":
            path = tmp_path / "nowhere"
        case "text file":
            path = tmp_path / "text.txt"
            path.write_text("text")
        case "broken tar" | "broken zip":
            path = tmp_path / f"x.{what[-3:]}"
            path.write_bytes(b"no archive" * 100)
        case "one picture":
            folder(tmp_path, {"a.png": encoded["a.png"]})
    with pytest.raises(InputUnreadable):
        data.read_split(path, scale=4)
