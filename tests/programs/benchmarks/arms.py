"""The arms of the benchmark: each generates tokens for one prompt (or batch) and is timed by the caller.

All arms use the same model object, prompts, heads, number of tokens and sampling settings. Arms (a) share
phase7's noise; the libraries' own `generate` draws from torch's global generator, which cannot be shared.
No arm stops at an end-of-text token, so that every arm generates the same number of tokens.
"""

from __future__ import annotations

import dataclasses
import itertools
import json
import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from transformers.pytorch_utils import Conv1D

from phase7.engine.decode.loop import generate
from phase7.engine.model.bridge import Model
from phase7.engine.model.packed import pack_products
from phase7.engine.patch.capture import capture
from phase7.engine.patch.donors import Donor, DonorSum
from phase7.engine.patch.patching import Patch
from phase7.experiment.profile import Sampling
from phase7.run.executor import one_thread
from phase7.run.memory import LADDER
from phase7.vocabulary.heads import Head, parse_heads
from phase7.vocabulary.modes import MODES, Mode

ROOT = Path(__file__).parents[3]
TEMPERATURE, TOP_P = 0.8, 0.9
#: Of a batch: the most that a run chooses by itself.
MOST_ROWS = LADDER[-1]


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Task:
    """What every arm is given.

    Attributes
    ----------
    twins : tuple of Model
        One for each processor, without end-of-text tokens.
    stock : Model
        The same as the libraries load it, without packed weights: what the arms (b) to (d′) run.
    prompts : int [n_prompts, n_prompt_tokens]
        Token ids, all of one length, so that no arm pays for padding.
    donor : Donor
    heads : tuple of Head
        Patched one at a time, in each of the modes.
    modes : tuple of str
        As many as :data:`MOST_ROWS` hold.
    n_tokens : int
        Generated for every row.
    """

    twins: tuple[Model, ...]
    stock: Model
    prompts: torch.Tensor
    donor: Donor
    heads: tuple[Head, ...]
    modes: tuple[Mode, ...]
    n_tokens: int

    @property
    def n_patches(self) -> int:
        """Patched rows of one prompt's batch."""
        return len(self.heads) * len(self.modes)

    @property
    def model(self) -> Model:
        """The first of the twins."""
        return self.twins[0]

    @property
    def sampling(self) -> Sampling:
        """The settings of all sampling arms."""
        return Sampling(max_new_tokens=self.n_tokens, temperature=TEMPERATURE, top_p=TOP_P, seed=1)


def make_task(
    model: Model, stock: Model | None = None, *, n_prompt_tokens: int = 20, n_tokens: int = 30
) -> Task:
    """The project's own prompts, cut to one length, and the mean over six emotion prompts.

    `stock` may be left out where only phase7 runs.
    """
    endless = dataclasses.replace(model, eos_ids=frozenset())
    neutral, emotion = (_cut(model, name, n_prompt_tokens) for name in ("neutral", "gratitude"))
    donor = DonorSum(capture(endless, ids, all_queries=False) for ids in emotion[:6].tolist()).mean()
    heads = parse_heads("all", n_layers=model.n_layers, n_heads=model.n_heads)
    n_modes = sum((len(heads) + 1) * n < MOST_ROWS for n in range(1, len(MODES) + 1))
    return Task(
        modes=MODES[: max(1, n_modes)],
        twins=(endless, *(endless.for_another_thread() for _ in range(torch.get_num_threads() - 1))),
        stock=stock or endless,
        prompts=neutral[:64],
        donor=donor,
        heads=heads,
        n_tokens=n_tokens,
    )


def _cut(model: Model, name: str, n_tokens: int) -> torch.Tensor:
    """Prompts repeated until long enough (byte-level test tokenizers make them long anyway), then cut."""
    path = ROOT / "data" / f"{name}_prompts.json"
    texts = json.loads(path.read_text(encoding="utf-8"))["prompts"]
    rows = [
        list(itertools.islice(itertools.cycle(model.tokenizer(text).input_ids), n_tokens))
        for text in texts
    ]
    return torch.tensor(rows)


def phase7_sweeps(
    task: Task, prompts: Sequence[int], heads: Sequence[Head] | None = None, **options: object
) -> list[np.ndarray]:
    """(a) Sweeps of several prompts, one on each processor at a time; returns the patched tokens of each.

    As :class:`phase7.run.threads.Threads` does it, without the store.
    """
    free = list(task.twins)

    def sweep(prompt: int) -> np.ndarray:
        model = free.pop()
        with one_thread(), torch.inference_mode():
            tokens = phase7_sweep(dataclasses.replace(task, twins=(model,)), prompt, heads, **options)
        free.append(model)
        return tokens

    with one_thread(), ThreadPoolExecutor(len(task.twins)) as pool:
        return list(pool.map(sweep, prompts))


def phase7_sweep(
    task: Task, prompt: int, heads: Sequence[Head] | None = None, **options: object
) -> np.ndarray:
    """All heads and modes of one prompt as rows of one batch; returns the patched tokens."""
    patches = [
        Patch(heads=(head,), mode=mode, donor="emotion")
        for mode in task.modes
        for head in heads or task.heads
    ]
    got = generate(
        task.model,
        f"prompt {prompt}",
        task.prompts[prompt].tolist(),
        patches,
        donors={"emotion": task.donor},
        sampling=task.sampling,
        **options,
    )
    return got.patched_tokens[:, 0]


def hooked_generate(task: Task, prompts: Sequence[int], head: Head) -> None:
    """(b) and (c): transformer-lens's hooks around its `generate`, one head at a time."""
    replacement = torch.from_numpy(task.donor.z[head.layer, 0, head.head])

    def write(z: torch.Tensor, hook: object) -> torch.Tensor:
        z[:, -1, head.head] = replacement
        return z

    bridge = task.stock.bridge
    with bridge.hooks(fwd_hooks=[(f"blocks.{head.layer}.attn.hook_z", write)]):
        out = bridge.generate(
            task.prompts[list(prompts)],
            max_new_tokens=task.n_tokens,
            stop_at_eos=False,
            temperature=TEMPERATURE,
            top_p=TOP_P,
            return_type="tokens",
            verbose=False,
        )
    _expect(out.shape, (len(prompts), task.prompts.shape[1] + task.n_tokens))


def plain_generate(task: Task, prompt: int, n_rows: int, *, greedy: bool) -> None:
    """(d) and (d'): transformers' own `generate` of the same number of rows, without any patch."""
    how = {"do_sample": False} if greedy else {
        "do_sample": True, "temperature": TEMPERATURE, "top_p": TOP_P, "top_k": 0,
    }  # fmt: skip
    ids = task.prompts[prompt].expand(n_rows, -1)
    model = task.stock.bridge.original_model
    out = model.generate(
        ids,
        attention_mask=torch.ones_like(ids),
        max_new_tokens=task.n_tokens,
        min_new_tokens=task.n_tokens,
        eos_token_id=None,
        pad_token_id=0,
        use_cache=True,
        **how,
    )
    _expect(out.shape, (n_rows, task.prompts.shape[1] + task.n_tokens))


def gemm_seconds(task: Task, n_rows: int, *, pack: bool = False) -> float:
    """(e) One token for `n_rows` rows if nothing but the products with weights took time."""
    shapes: Counter[tuple[int, int]] = Counter()

    def count(module: torch.nn.Module, args: tuple[torch.Tensor], out: torch.Tensor) -> None:
        shapes[out.shape[-1], args[0].shape[-1]] += 1

    layers = [m for m in task.stock.bridge.modules() if type(m) in (torch.nn.Linear, Conv1D)]
    handles = [layer.register_forward_hook(count) for layer in layers]
    task.stock.bridge(task.prompts[:1, :2])  # bridges hold some weights twice: count what runs
    for handle in handles:
        handle.remove()
    total = 0.0
    for (n_out, n_in), n_calls in shapes.items():
        x, layer = torch.randn(n_rows, n_in), torch.nn.Linear(n_in, n_out, bias=False)
        if pack:
            pack_products(layer)
        total += n_calls * min(timed(lambda x=x, layer=layer: layer(x)) for _ in range(5))
    return total


def timed(action: Callable[[], object]) -> float:
    """Seconds of wall-clock time."""
    begin = time.perf_counter()
    with torch.inference_mode():
        action()
    return time.perf_counter() - begin


def _expect(got: Sequence[int], wanted: Sequence[int]) -> None:
    if tuple(got) != tuple(wanted):
        raise RuntimeError(f"an arm generated {tuple(got)} where {tuple(wanted)} was asked")
