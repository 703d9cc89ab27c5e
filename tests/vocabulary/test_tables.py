"""The tables of modes, donors and sites: complete, and held by the code that carries them out."""

from __future__ import annotations

import typing
from dataclasses import replace

import pytest
import torch

from phase7.engine.decode.loop import generate
from phase7.engine.model.tokens import encode
from phase7.engine.patch import recipes
from phase7.engine.patch.patching import BASELINE, Patch, Patcher
from phase7.experiment.profile import Sampling
from phase7.vocabulary import donors, modes, units
from phase7.vocabulary.heads import Head
from phase7.vocabulary.sites import SITES, hook_name
from tests import tiny


def test_every_mode_has_a_record_and_a_recipe():
    assert modes.MODES == tuple(modes.MODE_RECORDS) == typing.get_args(modes.Mode)
    assert set(recipes.RECIPES) == set(modes.MODES)


@pytest.mark.parametrize("mode", modes.MODES)
def test_the_pattern_is_read_only_where_the_mode_says_so(mode):
    """With the donor `self` by every composed mode, with another only where the recipient attends."""
    record, model = modes.MODE_RECORDS[mode], tiny.load("gpt2")

    def sites(donor):
        patches = [BASELINE, Patch(heads=(Head(1, 2),), mode=mode, donor=donor)]
        return set(Patcher(model, patches, n_samples=1, donors={}, n_prompt=3).hooks(lambda: None))

    assert ("pattern" in sites("self")) == record.reads_pattern
    assert ("pattern" in sites("zero")) == (record.pattern == "recipient")


def test_a_mode_without_a_recipe_is_an_error_and_never_another_mode(monkeypatch):
    """A mode that only has a record is refused where it would be computed."""
    model = tiny.load("gpt2")
    patches = [Patch(heads=(Head(1, 2),), mode="v_only", donor="zero")]
    tokens = encode(model, "One two.", "raw")

    def run():
        sampling = Sampling(max_new_tokens=2)
        return generate(model, "One two.", tokens, patches, donors={}, sampling=sampling)

    assert run().n_self_rows  # it runs as long as the recipe is there
    monkeypatch.delitem(recipes.RECIPES, "v_only")
    with pytest.raises(NotImplementedError, match="no recipe for the patch mode 'v_only'"):
        run()


def test_every_kind_has_a_record_and_every_record_a_use():
    assert tuple(modes.POSITION_RECORDS) == modes.POSITIONS
    assert tuple(units.UNIT_RECORDS) == units.UNIT_KINDS
    assert {record.site for record in units.UNIT_RECORDS.values()} - {None} <= set(SITES)
    named = {*donors.DONOR_KINDS, *donors.CONTROL_KINDS} - {donors.NO_CONTROL}
    assert named == set(donors.DONOR_RECORDS)
    assert donors.NO_CONTROL in donors.CONTROL_KINDS


def test_a_kind_chooses_prompts_that_exist_and_one_only_where_it_says_so():
    choice = donors.Choice(emotion=("a", "b", "c"), neutral=("d", "e"), recipient=1, seed=3)
    for kind, record in donors.DONOR_RECORDS.items():
        if record.prompts is None:
            assert kind in ("self", "zero")
            continue
        chosen = record.prompts(choice)
        assert chosen and set(chosen) <= {*choice.emotion, *choice.neutral}
        other = record.prompts(replace(choice, recipient=0))
        assert (other != chosen) == record.by_recipient
        assert not record.by_recipient or len(chosen) == 1


@pytest.mark.parametrize("architecture", tiny.ARCHITECTURES)
def test_what_passes_at_a_site_has_the_axes_of_the_table(architecture):
    model = tiny.load(architecture)
    n_rows, n_queries = 2, 5
    sizes = {
        "row": n_rows,
        "query": n_queries,
        "key": n_queries,
        "head": model.n_heads,
        "kv_head": model.n_kv_heads,
        "d_head": model.d_head,
        "d_model": model.bridge.cfg.d_model,
    }
    seen: dict[str, tuple[int, ...]] = {}

    def note(site):
        return {1: lambda tensor, hook: seen.update({site: tuple(tensor.shape)})}

    sites = [site for site in SITES if site != "result"]  # it fires only where it is asked for
    with torch.inference_mode(), model.hooked({site: note(site) for site in sites}):
        model.bridge(torch.ones((n_rows, n_queries), dtype=torch.long))
    assert seen == {site: tuple(sizes[axis] for axis in SITES[site].axes) for site in sites}
    assert hook_name("z", 1) == "blocks.1.attn.hook_z"
