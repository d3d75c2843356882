"""The network as a whole: layers by NETWORK.md's table, with or without its parts, and bicubic before it is trained."""

import pytest
import torch
import torch.nn.functional as F
from networks import EXACT, MEMBERS, random_network

from gpsr_deploy.network.family import PARTS
from gpsr_deploy.network.folds import fold
from gpsr_deploy.network.gpsr import build
from gpsr_deploy.network.layers import gradient_map

ABLATIONS = pytest.mark.parametrize(
    "without",
    [("gradient_branch",), ("lrsam",), ("crfs",), ("lrsam", "crfs"), PARTS],
    ids="+".join,
)


def by_the_book(network, lr):
    """SR and gradient maps from the network's weights, written anew from the table of layers in NETWORK.md."""
    weights, config = network.state_dict(), network.config

    def conv(name, x, **options):
        weight = weights[f"{name}.weight"]
        options.setdefault("padding", weight.shape[-1] // 2)
        return F.conv2d(x, weight, weights.get(f"{name}.bias"), **options)

    def residual(name, x):
        return conv(f"{name}.second", conv(f"{name}.first", x).relu())

    def lrsam(name, x):
        cells = conv(f"{name}.cells", conv(f"{name}.squeeze", x), stride=3, padding=0)
        pooled = F.max_pool2d(cells, 7, stride=1, padding=3)
        return x * F.pixel_shuffle(conv(f"{name}.excite", conv(f"{name}.context", pooled).relu()), 3).sigmoid()

    def gate(name, x, branches):
        return conv(f"{name}.gate", conv(f"{name}.mix.conv", torch.cat(branches, 1))) + x

    def rs3am_sr(name, x):
        h, branches = x, []
        for m in range(4):
            r = residual(f"{name}.residuals.{m}", h)
            branches.append(lrsam(f"{name}.attentions.{m}", r) if config.lrsam else r)
            h = h + branches[-1]
        return gate(name, x, branches) if config.crfs else h

    def rs3am_g(name, x, features):
        h, branches = x, []
        for m, feature in enumerate(features):
            q = residual(f"{name}.residuals.{m}", h)
            h = h + q
            branches.append(conv(f"{name}.fuses.{m}", lrsam(f"{name}.attentions.{m}", torch.cat([feature, q], 1))))
        return gate(name, x, branches)

    def upsample(name, x):
        return conv(f"{name}.project", F.pixel_shuffle(conv(f"{name}.expand", x), 2))

    levels = config.scale.bit_length() - 1
    encoded = [conv("head", F.interpolate(lr, scale_factor=config.scale, mode="bicubic", align_corners=False))]
    for i in range(levels):
        down = F.leaky_relu(conv(f"encoders.{i}.down", encoded[-1], stride=2), 0.2)
        encoded.append(conv(f"encoders.{i}.conv", down))
    x, maps = encoded[levels], []
    if config.gradient_branch:
        gradient = conv("gradient_head", gradient_map(lr))
    for j in range(levels):
        features = []
        for m in range(config.blocks):
            x = rs3am_sr(f"decoders.{j}.blocks.{m}", x)
            features.append(x)
        x = torch.cat([encoded[levels - 1 - j], upsample(f"decoders.{j}.upsample", x)], 1)
        if config.gradient_branch:
            gradient = rs3am_g(f"gradient_modules.{j}.aggregate", gradient, features)
            gradient = upsample(f"gradient_modules.{j}.upsample", gradient)
            maps.append(conv(f"map_heads.{j}", gradient))
            x = torch.cat([x, gradient], 1)
    return conv("tail", x), maps


@MEMBERS
def test_layers_are_those_of_network_md(member, scale):
    network = random_network(member, scale)
    lr = torch.rand(1, 3, 3, 6, dtype=torch.float64)
    with torch.inference_mode():
        (found, found_maps), (wanted, wanted_maps) = network.forward_with_maps(lr), by_the_book(network, lr)
    for a, b in zip([found, *found_maps], [wanted, *wanted_maps], strict=True):
        assert (a - b).abs().max() <= EXACT


@ABLATIONS
def test_ablated_networks_are_those_of_table_3(without):
    """Layers by the book, folds exact, a start at bicubic, and nothing of what was left out."""
    network = random_network("nano", 4, without)
    lr = torch.rand(1, 3, 6, 9, dtype=torch.float64)
    with torch.inference_mode():
        (found, found_maps), (wanted, wanted_maps) = network.forward_with_maps(lr), by_the_book(network, lr)
        folded = fold(network)(lr)
        fresh = build("nano", scale=4, without=without)(lr.float())
    assert len(found_maps) == len(wanted_maps) == (0 if "gradient_branch" in without else 2)
    for a, b in zip([found, *found_maps, folded], [wanted, *wanted_maps, wanted], strict=True):
        assert (a - b).abs().max() <= EXACT
    assert torch.equal(fresh, F.interpolate(lr.float(), scale_factor=4, mode="bicubic", align_corners=False))
    traces = {"gradient_branch": "gradient", "lrsam": "blocks.0.attentions", "crfs": "blocks.0.mix"}
    for part, trace in traces.items():
        assert any(trace in key for key in network.state_dict()) == (part not in without)
    assert network.config.without == without


def test_the_ablations_keep_the_rest_of_the_network():
    """LRSAM and CRFS are left out of the SR branch only: the gradient branch has the same layers as ever."""

    def branch(network):
        return {key: value.shape for key, value in network.state_dict().items() if key.startswith("gradient_")}

    assert branch(build("nano", scale=4, without=("lrsam", "crfs"))) == branch(build("nano", scale=4))


@MEMBERS
def test_an_untrained_network_is_bicubic_upsampling(member, scale):
    lr = torch.rand(1, 3, 6, 3)
    with torch.inference_mode():
        found = build(member, scale=scale)(lr)
    wanted = F.interpolate(lr, scale_factor=scale, mode="bicubic", align_corners=False)
    assert torch.equal(found, wanted)  # identity kernels and zeros: nothing is rounded


def test_training_and_deployment_see_the_same_picture(nano):
    """`forward_with_maps` returns what `forward` does, and one map per level, each twice the size of the one before."""
    lr = torch.rand(2, 3, 6, 9)
    with torch.inference_mode():
        sr, maps = nano.forward_with_maps(lr)
        assert torch.equal(sr, nano(lr))
    assert [tuple(found.shape) for found in maps] == [(2, 3, 12, 18), (2, 3, 24, 36)]
