"""Sheets and curves: a run leaves them beside its description, and they show what was made of which picture."""

import json

import torch
from training_runs import tensors

import degradations
import sheet
import train
from gpsr_deploy.media import images
from gpsr_deploy.network.gpsr import build
from gpsr_deploy.network.layers import gradient_map


def test_a_run_leaves_its_description_sheets_and_curves(folder, uninterrupted):
    described = json.loads((uninterrupted / "run.json").read_text())
    assert described["photographs"] == 3
    assert described["left_out"] == []
    assert described["recipe"]["model"] == "nano"
    assert described["length"] == {"steps": 6, "minutes": None}
    assert sorted(path.name for path in (uninterrupted / "sheets").iterdir()) == ["00000003.png", "00000006.png"]
    drawn = images.read(uninterrupted / "sheets" / "00000006.png").pixels
    assert drawn.shape == (sheet.TITLE_HEIGHT + sheet.SIDE + sheet.GAP, 7 * (sheet.SIDE + sheet.GAP), 3)
    side = 48  # 12 LR pixels: the columns LR, bicubic, SR, HR, G, g(SR), g(HR)
    columns = [
        drawn[sheet.TITLE_HEIGHT : sheet.TITLE_HEIGHT + side, left : left + side]
        for left in range(0, drawn.shape[1], sheet.SIDE + sheet.GAP)
    ]
    (path,) = (path for path in folder.iterdir() if path.stem == "a")
    hr = images.read(path).pixels[:48, 4:52]  # the middle 12 of 15 LR pixels, from the first on
    assert (columns[3] == hr).all()
    assert (columns[0][::4, ::4].repeat(4, axis=0).repeat(4, axis=1) == columns[0]).all()
    assert images.read(uninterrupted / "curves.png").pixels.std() > 1


def test_the_sheet_shows_what_the_average_makes(folder, uninterrupted):
    network = build("nano", scale=4).to(memory_format=torch.channels_last)
    network.load_state_dict({key[4:]: value for key, value in tensors(uninterrupted).items() if key.startswith("ema.")})
    (photograph,) = train.read_split(folder, scale=4).validation
    lr, hr = photograph.lr[None, :, :, 1:13] / 255.0, photograph.hr[None, :, :, 4:52] / 255.0
    with torch.no_grad():
        sr, maps = network.forward_with_maps(lr)
    wanted = [degradations.bicubic_upsample(lr, 4), sr, hr, maps[-1], gradient_map(sr), gradient_map(hr)]
    drawn = images.read(uninterrupted / "sheets" / "00000006.png").pixels
    for column, picture in enumerate(wanted, start=1):
        left = column * (sheet.SIDE + sheet.GAP)
        found = drawn[sheet.TITLE_HEIGHT : sheet.TITLE_HEIGHT + 48, left : left + 48]
        assert (found == degradations.to_8_bit(picture)[0].permute(1, 2, 0).numpy()).all(), column
