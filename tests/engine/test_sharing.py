"""Slots: rows of one history share them below their patch, and each slot continues the right one."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from phase7.engine.decode.rows import SharedLayers
from phase7.engine.model import kv_cache as shared_prefix
from phase7.engine.model.blocks import ROW_BLOCK, whole_blocks
from phase7.engine.model.buffers import Buffers

N_LAYERS = 4


@st.composite
def runs(draw):
    """First patched layers, tokens by step, and the rows dropped after each step."""
    n_rows = draw(st.integers(1, 24))
    first = draw(st.lists(st.integers(-1, N_LAYERS), min_size=n_rows, max_size=n_rows))
    n_steps = draw(st.integers(1, 5))
    tokens = draw(
        st.lists(
            st.lists(st.integers(0, 2), min_size=n_rows, max_size=n_rows),
            min_size=n_steps,
            max_size=n_steps,
        )
    )
    dropped = draw(st.lists(st.sets(st.integers(0, n_rows - 1)), min_size=n_steps, max_size=n_steps))
    return first, tokens, dropped


@given(run=runs(), share_attention=st.booleans())
def test_a_slot_holds_one_private_row_or_all_rows_of_one_history(run, share_attention):
    first, tokens, dropped = run
    n_rows = len(first)
    layout = SharedLayers(first, N_LAYERS, share_attention=share_attention)
    texts = [""] * n_rows
    alive = set(range(n_rows))
    # What each slot of an attention has seen, as the cache would hold it: followed only through the copies.
    seen = [{s: "" for s in range(whole_blocks(n_rows))} for _ in range(N_LAYERS)]

    def check(slots, n_slots, is_private):
        owners: dict[int, set] = {}
        for row in sorted(alive):
            assert 0 <= slots[row] < n_slots
            who = ("private", row) if is_private(first[row]) else ("group", texts[row])
            owners.setdefault(int(slots[row]), set()).add(who)
        assert all(len(who) == 1 for who in owners.values())
        assert len({who for some in owners.values() for who in some}) == len(owners)
        assert n_slots == whole_blocks(len(owners))

    for step_tokens, leaving in zip(tokens, dropped, strict=True):
        for layer in range(N_LAYERS):
            slots, attention = layout.slots(layer), layout.attention_slots(layer)
            check(slots, layout.n_slots(layer), lambda f, n=layer: f <= n)
            within = layer - 1 if share_attention else layer
            check(attention, layout.n_attention_slots(layer), lambda f, n=within: f <= n)
            below = layout.slots(layer - 1) if layer else np.arange(n_rows)
            entering, outputs = layout.entering(layer), layout.leaving(layer)
            read = layout.attending(layer)
            assert entering.shape == outputs.shape == (layout.n_slots(layer),)
            assert read.shape == (layout.n_attention_slots(layer),)
            for row in alive:
                assert seen[layer][int(attention[row])] == texts[row]
                assert outputs[slots[row]] == attention[row]
                if layer:
                    assert entering[slots[row]] == below[row]
                else:
                    assert texts[entering[slots[row]]] == texts[row]
                # What the attention reads is what any of its rows entered the layer with.
                source = entering[read[attention[row]]]
                assert source == below[row] if layer else texts[source] == texts[row]
        leaving = leaving & alive if leaving < alive else set()
        if leaving:
            alive -= leaving
            copies = layout.drop(np.array(sorted(leaving)))
            seen = [
                dict(zip(one.target.tolist(), [seen[one.layer][s] for s in one.source], strict=True))
                for one in copies
            ]
        for one in layout.extend(np.array(step_tokens)):
            held = [seen[one.layer][s] for s in one.source]
            seen[one.layer].update(zip(one.target.tolist(), held, strict=True))
        texts = [text + str(token) for text, token in zip(texts, step_tokens, strict=True)]
        for layer in range(N_LAYERS):
            slots = layout.attention_slots(layer)
            for row in alive:
                held = seen[layer][int(slots[row])]
                assert held == texts[row][:-1] or held == texts[row]
                seen[layer][int(slots[row])] = texts[row]


@given(run=runs(), share_attention=st.booleans())
def test_where_nothing_parts_each_slot_continues_itself(run, share_attention):
    first, tokens, dropped = run
    layout, alive = (
        SharedLayers(first, N_LAYERS, share_attention=share_attention),
        set(range(len(first))),
    )
    gates = [("attention", layout.attending, layout.n_attention_slots, layout.n_slots)]
    gates += [("outputs", layout.leaving, layout.n_slots, layout.n_attention_slots)]
    gates += [("layer", layout.entering, layout.n_slots, lambda layer: layout.n_slots(layer - 1))]
    slots = {"attention": layout.attention_slots, "outputs": layout.slots, "layer": layout.slots}
    for step_tokens, leaving in zip(tokens, dropped, strict=True):
        for gate, continued, n_behind, n_before in gates:
            for layer in range(gate == "layer", N_LAYERS):
                n_used = int(slots[gate](layer).max()) + 1  # the rest only fills a block
                itself = continued(layer)[:n_used].tolist() == list(range(n_used))
                same = itself and n_before(layer) == n_behind(layer)
                assert layout.parts_at(gate, layer) or same
        layout.extend(np.array(step_tokens))
        if len(alive - leaving) > 0:
            layout.drop(np.array(sorted(leaving & alive), dtype=np.int64))
            alive -= leaving


def test_rows_part_where_some_are_patched_first():
    """Liveness: a layout that says that nothing ever parts would compute wrong rows."""
    layout = SharedLayers([N_LAYERS, 1, 1, 2], N_LAYERS)
    parting = {
        (gate, layer)
        for gate in ("layer", "attention", "outputs")
        for layer in range(gate == "layer", N_LAYERS)
        if layout.parts_at(gate, layer)
    }
    # With the heads' outputs of its first layer; the layer's input goes to the attention's fewer rows.
    assert parting == {
        ("outputs", 1), ("attention", 1), ("layer", 1), ("outputs", 2), ("attention", 2), ("layer", 2)
    }  # fmt: skip


def test_a_layer_has_whole_blocks_of_the_size_asked():
    for block in (2, 16):
        layout = SharedLayers([0] * 5 + [2] * 3, N_LAYERS, block)
        rows = [layout.n_slots(layer) for layer in range(N_LAYERS)]
        assert rows == [whole_blocks(n, block) for n in (6, 6, 8, 8)]
        assert all(len(layout.entering(layer)) == rows[layer] for layer in range(N_LAYERS))


def test_a_rows_attention_is_shared_in_its_first_patched_layer_unless_asked_not_to():
    first = [0] * 16 + [1] * 16 + [2] * 16
    for share, rows in ((True, [16, 32, 48, 48]), (False, [32, 48, 48, 48])):
        layout = SharedLayers(first, N_LAYERS, share_attention=share)
        assert [layout.n_attention_slots(layer) for layer in range(N_LAYERS)] == rows
        assert [layout.n_slots(layer) for layer in range(N_LAYERS)] == [32, 48, 48, 48]


def test_the_next_batch_takes_the_same_memory_where_it_is_enough():
    buffers, like = Buffers(), torch.zeros(1)
    first = buffers.take(0, "keys", (4, 3), like)
    smaller = buffers.take(0, "keys", (2, 5), like)
    assert smaller.data_ptr() == first.data_ptr()
    assert smaller.shape == (2, 5)
    others = [
        buffers.take(0, "values", (4, 3), like),
        buffers.take(1, "keys", (4, 3), like),
        buffers.take(0, "keys", (40, 3), like),
        buffers.take(0, "keys", (4, 3), like.bfloat16()),
    ]
    assert len({tensor.data_ptr() for tensor in [first, *others]}) == 5
    assert others[-1].dtype == torch.bfloat16


def test_generated_tokens_lie_in_memory_without_gaps_and_zeros_follow():
    """Memory of the batch before must not reach a product: NaN times 0 is NaN."""
    n_slots, n_most = 4, 19
    memory = torch.full((n_slots, 2, n_most, 3), torch.nan)
    own = shared_prefix._Own(memory)
    written = torch.randn(n_slots, 2, n_most, 3)
    rooms = []
    for token in range(n_most):
        own.write(written[:, :, token : token + 1], token)
        rooms.append(own.tokens.shape[2])
        assert own.tokens.is_contiguous()
        torch.testing.assert_close(own.tokens[:, :, : token + 1], written[:, :, : token + 1])
        assert (own.tokens[:, :, token + 1 :] == 0).all()
    assert rooms == [8] * 8 + [16] * 8 + [19] * 3


def test_rows_that_differ_nowhere_are_computed_once():
    layout = SharedLayers([N_LAYERS] * 100, N_LAYERS)
    assert [layout.n_slots(layer) for layer in range(N_LAYERS)] == [ROW_BLOCK] * N_LAYERS
    layout = SharedLayers([-1] * 100, N_LAYERS)
    for n_slots in (layout.n_slots, layout.n_attention_slots):
        assert [n_slots(layer) for layer in range(N_LAYERS)] == [whole_blocks(100)] * N_LAYERS


@pytest.mark.parametrize("n_rows", [ROW_BLOCK * k for k in (1, 2, 3, 17, 28)])
@pytest.mark.parametrize("width", [8, 24, 96])
def test_a_row_of_whole_blocks_has_the_same_product_in_any_number_of_them(n_rows, width):
    """The reason for the blocks: with left-over rows this fails with some libraries and threads."""
    generator = torch.Generator().manual_seed(width)
    many = torch.randn(512, width, generator=generator)
    weight = torch.randn(width, 50, generator=generator)
    assert torch.equal(many[:n_rows].clone() @ weight, (many @ weight)[:n_rows])
    same = many[:1].expand(n_rows, -1).contiguous() @ weight
    assert (same == same[0]).all()
