"""Laws of the leaner modules: the same numbers up to rounding, and hooks see what they saw."""

from __future__ import annotations

import pytest
import torch
from transformers.activations import GELUTanh, NewGELUActivation

from phase7.engine.model.lean import LeanNormalization, LeanRMSNormalization, make_lean
from phase7.engine.model.loading import load_model
from phase7.models.files import find_model
from tests import tiny


@pytest.fixture(scope="module", params=tiny.ARCHITECTURES)
def bridges(request, tmp_path_factory):
    """A bridge as transformer-lens makes it, and the same with leaner modules."""
    folder = tmp_path_factory.mktemp(request.param)
    files = find_model(str(tiny.save(request.param, folder / "tiny")), store_root=folder)
    stock, lean = (load_model(files, pack=False).bridge for _ in range(2))
    make_lean(lean)
    return stock, lean


def test_the_output_is_the_same_up_to_rounding(bridges):
    tokens = torch.arange(12)[None]
    with torch.inference_mode():
        stock, lean = (bridge(tokens) for bridge in bridges)
    torch.testing.assert_close(lean, stock, rtol=1e-5, atol=1e-5)


def test_every_normalisation_and_no_tanh_gelu_is_left_as_it_was(bridges):
    """Liveness: without a replacement the law above would hold too."""
    kinds = [[type(m).__name__ for m in bridge.modules()] for bridge in bridges]
    n_norms = sum(kind in ("NormalizationBridge", "RMSNormalizationBridge") for kind in kinds[0])
    lean = (LeanNormalization.__name__, LeanRMSNormalization.__name__)
    assert n_norms >= 5
    assert sum(kind in lean for kind in kinds[1]) == n_norms
    gelus = [kinds[0].count(NewGELUActivation.__name__), kinds[1].count(GELUTanh.__name__)]
    assert gelus[0] == gelus[1]
    assert kinds[1].count(NewGELUActivation.__name__) == 0


@pytest.mark.parametrize("site", ["hook_scale", "hook_normalized"])
def test_a_hook_between_sees_and_changes_what_it_did(bridges, site):
    tokens = torch.arange(12)[None]
    name = f"blocks.1.ln1.{site}"
    seen, changed = [], []
    for bridge in bridges:
        with torch.inference_mode(), bridge.hooks(fwd_hooks=[(name, lambda x, hook: seen.append(x))]):
            bridge(tokens)
        with torch.inference_mode(), bridge.hooks(fwd_hooks=[(name, lambda x, hook: 2 * x)]):
            changed.append(bridge(tokens))
    torch.testing.assert_close(seen[1], seen[0], rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(changed[1], changed[0], rtol=1e-5, atol=1e-5)
    assert not torch.allclose(changed[0], bridges[0](tokens), atol=1e-3)  # liveness of the change
