"""The network: the sizes NETWORK.md demands, exact folds, the start at bicubic, equivariance on the grid of 3."""

import copy

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from networks import with_noise

from gpsr_deploy.network.family import CONFIGS, PARTS
from gpsr_deploy.network.folds import fold
from gpsr_deploy.network.gpsr import GPSR, build
from gpsr_deploy.network.layers import GRADIENT_EPS, LRSAM, RS3AMG, RS3AMSR, DepthwiseBicubic, Upsampler, gradient_map
from gpsr_deploy.network.sizes import count_macs, count_parameters

MEMBERS = pytest.mark.parametrize(("member", "scale"), CONFIGS, ids=lambda value: str(value))
ABLATIONS = pytest.mark.parametrize(
    "without",
    [("gradient_branch",), ("lrsam",), ("crfs",), ("lrsam", "crfs"), PARTS],
    ids="+".join,
)

EXACT = 1e-12
"""Largest difference of values around 1 in float64, rounded in some hundred layers."""


def random_network(member, scale, without=()):
    """In float64, with attention masks and branches far from where they start."""
    torch.manual_seed(0)
    return with_noise(build(member, scale=scale, without=without).double(), size=0.8)


@pytest.fixture(scope="module")
def wild():
    """A random `nano` x4. Not to be changed."""
    return random_network("nano", 4)


AS_STATED = {"abs": 0.05e9, "rel": 2e-4}
"""NETWORK.md gives one decimal, and `gpsr` 0.1 G more than its convolutions have (less than the 0.6 G of the map heads)."""


@pytest.mark.parametrize(
    ("member", "scale", "parameters", "giga_macs"),
    [
        ("gpsr", 4, 8_144_497, 1097.6),
        ("gpsr", 8, 14_668_732, 801.0),
        ("lite", 4, 1_134_077, 152.4),
        ("lite", 8, 2_033_737, 110.8),
        ("nano", 4, 171_379, 23.1),
        ("nano", 8, 434_874, 23.9),
    ],
)
def test_sizes_are_those_of_network_md(member, scale, parameters, giga_macs):
    network = build(member, scale=scale)
    assert count_parameters(network) == parameters
    assert count_macs(network) == pytest.approx(giga_macs * 1e9, **AS_STATED)


@pytest.mark.parametrize(("scale", "giga_macs"), [(4, 966.8), (8, 703.6)])
def test_folded_sizes_are_those_of_network_md(scale, giga_macs):
    folded = fold(build("gpsr", scale=scale))
    assert count_macs(folded) == pytest.approx(giga_macs * 1e9, **AS_STATED)
    assert not any("map_heads" in key for key in folded.state_dict())


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


def test_macs_grow_with_the_picture_and_leave_the_network_alone(nano):
    before = {key: value.clone() for key, value in nano.state_dict().items()}
    assert count_macs(nano, sr_height=1440, sr_width=1280) == 2 * count_macs(nano)
    assert all(torch.equal(value, before[key]) for key, value in nano.state_dict().items())
    assert not any(module._forward_hooks for module in nano.modules())


@MEMBERS
def test_folds_are_exact(member, scale):
    network = random_network(member, scale)
    before = copy.deepcopy(network.state_dict())
    folded = fold(network)
    lr = torch.rand(2, 3, 6, 9, dtype=torch.float64)
    with torch.inference_mode():
        wanted, found = network(lr), folded(lr)
    assert wanted.std() > 0.1  # not a constant, which anything would equal
    assert (found - wanted).abs().max() <= EXACT
    assert all(torch.equal(value, before[key]) for key, value in network.state_dict().items())


def folded_parts(network):
    """Name and parameter or buffer of all that fold() replaces."""
    kinds = {
        Upsampler: ("expand.",),
        LRSAM: ("cells.",),
        RS3AMSR: ("mix.",),
        RS3AMG: ("fuses.",),
        DepthwiseBicubic: ("kernels",),
    }
    for prefix, module in network.named_modules():
        for name, tensor in (*module.named_parameters(), *module.named_buffers()):
            mine = any(isinstance(module, kind) and name.startswith(starts) for kind, starts in kinds.items())
            if mine and tensor.any():  # of the biases that RS3AMSR's sum splits one into, all but the first are zero
                yield f"{prefix}.{name}", tensor


@pytest.mark.parametrize("scale", [4, 8])
def test_every_folded_weight_matters(scale):
    """A change of 1 % in any of them is seen far above EXACT: a wrong fold of each would be noticed."""
    folded = fold(random_network("nano", scale))
    lr = torch.rand(1, 3, 6, 6, dtype=torch.float64)
    with torch.inference_mode():
        wanted = folded(lr)
        for name, tensor in folded_parts(folded):
            original = tensor.clone()
            tensor.mul_(1.01)
            assert (folded(lr) - wanted).abs().max() > 1e6 * EXACT, name
            tensor.copy_(original)


@pytest.mark.parametrize("kind", [Upsampler, LRSAM, RS3AMSR, RS3AMG])
def test_each_fold_is_exact_alone(wild, kind):
    """Only modules of one kind are exchanged for their folded form."""
    mixed, folded = copy.deepcopy(wild), fold(wild)
    exchanged = [name for name, module in mixed.named_modules() if isinstance(module, kind)]
    for name in exchanged:
        parent, _, child = name.rpartition(".")
        module = copy.deepcopy(folded.get_submodule(name))
        if kind in (RS3AMSR, RS3AMG):
            module.attentions = mixed.get_submodule(name).attentions  # another kind's fold
        setattr(mixed.get_submodule(parent), child, module)
    lr = torch.rand(1, 3, 6, 9, dtype=torch.float64)
    assert exchanged
    assert count_macs(mixed) < count_macs(wild) or kind is RS3AMSR
    with torch.inference_mode():
        assert (mixed(lr) - wild(lr)).abs().max() <= EXACT


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


def test_gradient_map_is_equations_8_and_9():
    """Differences of the neighbours left and right, above and below; zero beyond the edge."""
    image = np.random.default_rng(0).random((2, 3, 5, 7))
    padded = np.pad(image, ((0, 0), (0, 0), (1, 1), (1, 1)))
    dx = padded[:, :, 1:-1, 2:] - padded[:, :, 1:-1, :-2]
    dy = padded[:, :, 2:, 1:-1] - padded[:, :, :-2, 1:-1]
    found = gradient_map(torch.from_numpy(image)).numpy()
    assert found == pytest.approx(np.sqrt(dx**2 + dy**2 + GRADIENT_EPS), abs=1e-15)  # values up to 1.5 in float64


def test_gradient_map_of_a_flat_region_has_a_finite_derivative():
    image = torch.full((1, 3, 5, 5), 0.5, requires_grad=True)
    gradient_map(image).sum().backward()
    assert torch.isfinite(image.grad).all()


@pytest.mark.parametrize("scale", [2, 4, 8])
@pytest.mark.parametrize("size", [(1, 1), (3, 6), (12, 9)], ids=str)
def test_depthwise_bicubic_is_torchs_bicubic(scale, size):
    lr = torch.rand(2, 3, *size, dtype=torch.float64)
    wanted = F.interpolate(lr, scale_factor=scale, mode="bicubic", align_corners=False)
    assert (DepthwiseBicubic(scale)(lr) - wanted).abs().max() <= 1e-12  # 25 products of float64


RECEPTIVE_FIELD = 147
"""LR pixels per side that `nano` x4 may see: 145, on the grid of 3."""


@pytest.fixture(scope="module")
def strip(wild):
    """A picture of 3 x 414 and its SR: wide enough for tiles with the whole receptive field, cheap in the other axis."""
    lr = torch.rand(1, 3, 3, 414, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        return lr, wild(lr)


def tile_error(network: GPSR, strip, *, origin, halo, keep=24):
    """Largest difference from the whole result in the `keep` pixels amid the tile that starts at `origin`."""
    lr, wanted = strip
    with torch.inference_mode():
        tile = network(lr[..., origin : origin + 2 * halo + keep])
    scale = network.config.scale
    kept, there = tile[..., halo * scale :], wanted[..., (origin + halo) * scale :]
    return float((kept - there[..., : kept.shape[-1]])[..., : keep * scale].abs().max())


@pytest.mark.parametrize("origin", [0, 3, 48, 96])
def test_a_tile_on_the_grid_is_the_whole_picture(wild, strip, origin):
    assert tile_error(wild, strip, origin=origin, halo=RECEPTIVE_FIELD) <= EXACT


@pytest.mark.parametrize("origin", [1, 2, 49, 95])
def test_a_tile_off_the_grid_is_wrong_whatever_its_overlap(wild, strip, origin):
    assert tile_error(wild, strip, origin=origin, halo=RECEPTIVE_FIELD) > 1e10 * EXACT


def test_a_tile_with_less_than_the_receptive_field_is_wrong(wild, strip):
    assert tile_error(wild, strip, origin=48, halo=24) > 1e3 * EXACT
