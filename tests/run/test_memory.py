"""Rows by the free memory: a bound that grows with what a row needs, and a choice that keeps it."""

import dataclasses
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phase7.experiment.profile import Engine, Patching, Profile, Sampling
from phase7.models.files import find_model, read_sizes
from phase7.run.memory import (
    LADDER,
    Footprint,
    bound_in_words,
    choose_batches_at_once,
    choose_max_rows,
    footprint,
)
from tests import tiny


@given(fixed=st.integers(0, 10**10), row=st.integers(1, 10**8), free=st.integers(10**9, 10**12))
def test_the_chosen_rows_fit_and_the_next_number_would_not(fixed, row, free):
    need = Footprint(fixed_bytes=fixed, bytes_per_row=row)
    chosen = choose_max_rows([need], free)
    assert chosen in LADDER
    if chosen > LADDER[0]:
        assert fixed + chosen * row <= 0.6 * free
    if chosen < LADDER[-1]:
        following = LADDER[LADDER.index(chosen) + 1]
        assert fixed + following * row > 0.6 * free


@given(
    fixed=st.integers(0, 10**10),
    row=st.integers(1, 10**8),
    rows=st.sampled_from(LADDER),
    processors=st.integers(1, 64),
    free=st.integers(10**9, 10**12),
)
def test_batches_at_once_fit_and_one_more_would_not(fixed, row, rows, processors, free):
    need = Footprint(fixed_bytes=fixed, bytes_per_row=row)
    n = choose_batches_at_once([need], rows, processors, free)
    assert 1 <= n <= processors
    if n > 1:
        assert need.gigabytes(n * rows) * 1e9 <= 0.6 * free * (1 + 1e-9)
    if n < processors:
        assert need.gigabytes((n + 1) * rows) * 1e9 > 0.6 * free * (1 - 1e-9)
    larger = Footprint(fixed_bytes=fixed, bytes_per_row=2 * row)
    assert choose_batches_at_once([need, larger], rows, processors, free) <= n


def test_the_bound_counts_all_batches_at_once():
    sizes = read_sizes(tiny.load("llama").files)
    profile = Profile(name="p", models=("m",), emotions=("anger",), engine=Engine(max_rows=512))
    need = footprint(sizes, profile)
    for n in (1, 64):
        told = bound_in_words(profile, [sizes], n)
        assert f"at most {need.gigabytes(n * 512):.1f} GB" in told
        assert ("64 at once" in told) == (n == 64)
    assert need.gigabytes(64 * 512) > need.gigabytes(512) + 0.1


def test_the_most_demanding_model_decides():
    small, large = (Footprint(fixed_bytes=0, bytes_per_row=b) for b in (10**6, 10**9))
    assert choose_max_rows([small, large], 100 * 10**9) == choose_max_rows([large], 100 * 10**9)
    assert choose_max_rows([small], 100 * 10**9) > choose_max_rows([large], 100 * 10**9)


@pytest.mark.parametrize("architecture", tiny.ARCHITECTURES)
def test_longer_texts_and_patched_prompts_need_more(architecture):
    sizes = read_sizes(tiny.load(architecture).files)
    profile = Profile(name="p", models=("m",), emotions=("anger",))
    plain = footprint(sizes, profile).bytes_per_row
    longer = dataclasses.replace(profile, sampling=Sampling(max_new_tokens=300))
    everywhere = dataclasses.replace(profile, patching=Patching(positions="all"))
    assert footprint(sizes, longer).bytes_per_row > plain
    assert footprint(sizes, everywhere).bytes_per_row > 5 * plain
    by_hand = 2 * tiny.N_LAYERS * sizes.n_heads * 8 * 30 * 4  # keys and values alone
    assert plain > (by_hand / 2 if architecture == "llama" else by_hand)


@pytest.mark.parametrize("name", ["dtype", "torch_dtype"])
def test_weights_in_sixteen_bits_take_twice_their_file(tmp_path, name):
    tiny.save("gpt2", tmp_path / "m")
    files = find_model(str(tmp_path / "m"), store_root=tmp_path)
    profile = Profile(name="p", models=("m",), emotions=("gratitude",))
    config = json.loads((tmp_path / "m" / "config.json").read_text())
    config.pop("dtype", None)
    fixed = {}
    for dtype in ("float32", "float16", "bfloat16"):
        (tmp_path / "m" / "config.json").write_text(json.dumps(config | {name: dtype}))
        fixed[dtype] = footprint(read_sizes(files), profile).fixed_bytes
    weights = (tmp_path / "m" / "model.safetensors").stat().st_size
    assert fixed["float16"] == fixed["bfloat16"] == fixed["float32"] + 2 * weights
    half = dataclasses.replace(profile, engine=dataclasses.replace(profile.engine, dtype="bfloat16"))
    assert footprint(read_sizes(files), half).fixed_bytes == fixed["float32"]
