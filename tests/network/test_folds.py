"""Folds are exact: all together, each alone, and every folded weight matters."""

import copy

import pytest
import torch
from networks import EXACT, MEMBERS, random_network

from gpsr_deploy.network.folds import fold
from gpsr_deploy.network.layers import LRSAM, RS3AMG, RS3AMSR, DepthwiseBicubic, Upsampler
from gpsr_deploy.network.sizes import count_macs


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
