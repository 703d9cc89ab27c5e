"""What read-outs of all heads cost: `python -m tests.programs.measurements.readouts`.

On SmolLM2 with two donors, in one run: all heads by the first step's read-out (exact patches), a sample
of heads along a path of 16 tokens by the forced pass, by a loop over heads in transformer-lens with all
prompts of a head as one padded batch, and the time of plain unpatched passes of as many rows × tokens.
Prints the figures and writes `docs/measurements/readouts.json`.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from phase7.engine.decode.attribution import slopes
from phase7.engine.decode.forced import forced_pass
from phase7.engine.decode.loop import generate
from phase7.engine.model.bridge import Model
from phase7.engine.model.token_sets import form_token_set
from phase7.engine.model.tokens import encode
from phase7.engine.patch.donors import Donor
from phase7.engine.patch.patching import Patch
from phase7.experiment.profile import Engine, Sampling
from phase7.experiment.prompts import load_prompts
from phase7.experiment.word_families import load_families
from phase7.models.files import find_model
from phase7.models.framing import Framing
from phase7.run.backend import n_processors
from phase7.run.executor import Executor, one_thread
from phase7.run.provenance import machine
from phase7.store import Store, write_text
from phase7.vocabulary.heads import Head

ROOT = Path(__file__).parents[3]
OUTPUT = ROOT / "docs" / "measurements" / "readouts.json"
N_PROMPTS, N_TOKENS = 20, 16
CHAT = Framing(format="chat")
#: Prompts on which the longer path is timed for all heads, and heads of the loop in transformer-lens.
N_TIMED, N_LOOPED = 2, 6

Prompt = tuple[list[int], list[int]]


def prepared(
    n_prompts: int = N_PROMPTS,
) -> tuple[Model, dict[str, Donor], list[Prompt], dict[str, tuple[int, ...]]]:
    """The model, its two donors, the recipients' tokens with their paths, and the token set."""
    files = find_model("smollm2", store_root=ROOT / "store")
    executor = Executor(files, Engine(), Store(ROOT / "store"), lambda line: None)
    neutral = load_prompts(ROOT / "data" / "neutral_prompts.json")
    emotion = load_prompts(ROOT / "data" / "gratitude_prompts.json")
    donors = {
        "emotion": executor.donors.mean(emotion, CHAT, False),
        "control": executor.donors.mean(neutral, CHAT, False),
    }
    model, sampling = executor.model, Sampling(max_new_tokens=N_TOKENS, seed=7)
    prompts = []
    for prompt in neutral.prompts[: 2 * n_prompts : 2]:
        tokens = encode(model, prompt, "chat", n_new_tokens=N_TOKENS)
        nothing = [Patch(heads=(Head(0, 0),))]
        (path,) = generate(model, prompt, tokens, nothing, donors={}, sampling=sampling).baseline_tokens
        prompts.append((list(tokens), [int(token) for token in path if token >= 0]))
    words = load_families(ROOT / "data" / "keywords.toml", ("gratitude",))["gratitude"]
    found = form_token_set(model.tokenizer, "gratitude", sorted(words), where="data/keywords.toml")
    return model, donors, prompts, {"gratitude": found}


def all_heads(model: Model) -> list[Head]:
    return [Head(layer, head) for layer in range(model.n_layers) for head in range(model.n_heads)]


def on_two_threads(model: Model, work: Callable[[Model, Prompt], Any], prompts: list[Prompt]) -> float:
    """Seconds for a piece of work on every prompt, as the package runs it: a prompt on each processor."""
    models = [model, model.for_another_thread()]

    def share(number: int) -> None:
        with one_thread():
            for prompt in prompts[number::2]:
                work(models[number], prompt)

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(share, range(2)))  # both models' first call makes what they keep
        started = time.perf_counter()
        list(pool.map(share, range(2)))
    return time.perf_counter() - started


def forced(n_steps: int, donors: dict[str, Donor], sets: dict, model: Model, prompt: Prompt) -> None:
    """Every head with either donor, exactly."""
    tokens, path = prompt
    for donor in donors:
        patches = [Patch(heads=(head,), donor=donor) for head in all_heads(model)]
        forced_pass(model, tokens, path[:n_steps], patches, donors=donors, token_sets=sets)


def predicted(donors: dict[str, Donor], sets: dict, model: Model, prompt: Prompt) -> None:
    """Every head with either donor, to first order."""
    found = slopes(model, *prompt, token_sets=sets, positions="generated")
    found.effects(list(donors.values()), "result")


def padded(prompts: list[Prompt]) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Tokens and their mask, padded on the left, and the places whose distributions are read."""
    rows = [[*tokens, *path[:-1]] for tokens, path in prompts]
    longest = max(map(len, rows))
    ids = torch.tensor([[0] * (longest - len(row)) + row for row in rows])
    mask = torch.tensor([[0] * (longest - len(row)) + [1] * len(row) for row in rows])
    return ids, mask, torch.arange(longest - N_TOKENS, longest)


def loop_in_transformer_lens(
    model: Model, donors: dict[str, Donor], prompts: list[Prompt], inside: tuple[int, ...]
) -> Iterator[float]:
    """Seconds for each of some heads with one donor: one pass of all prompts under a hook at z."""
    ids, mask, places = padded(prompts)
    positions = (mask.cumsum(1) - 1).clamp(min=0)
    spaced = np.linspace(0, len(all_heads(model)) - 1, N_LOOPED).astype(int)
    for head in [all_heads(model)[i] for i in spaced]:
        output = torch.from_numpy(donors["emotion"].z[head.layer, 0, head.head])

        def write(z: torch.Tensor, hook: Any, head: Head = head, new: torch.Tensor = output) -> Any:
            z[:, -N_TOKENS:, head.head] = new
            return z

        started = time.perf_counter()
        with (
            torch.inference_mode(),
            model.bridge.hooks(fwd_hooks=[(f"blocks.{head.layer}.attn.hook_z", write)]),
        ):
            with model.unembedding_apart() as unembed:
                states = model.bridge(ids, attention_mask=mask, position_ids=positions)
                log_p = unembed(states[:, places]).log_softmax(dim=-1)
            of_set = log_p[..., list(inside)].logsumexp(dim=-1)
            (of_set - torch.log1p(-of_set.exp())).mean(dim=1)
        yield time.perf_counter() - started


def unpatched(model: Model, prompt: Prompt) -> None:
    """Plain passes of as many rows × tokens as all heads with both donors take, without a cache."""
    _, path = prompt
    ids = torch.tensor([path])
    n_rows = 2 * len(all_heads(model))
    with torch.inference_mode():
        for start in range(0, n_rows, 90):
            n = min(90, n_rows - start)
            model.bridge(ids.expand(n, -1))


def main() -> None:
    """Measure, write and print."""
    model, donors, prompts, sets = prepared()
    n_patches = 2 * len(all_heads(model))
    few = prompts[:N_TIMED]
    first = on_two_threads(model, partial(forced, 1, donors, sets), prompts)
    path = on_two_threads(model, partial(forced, N_TOKENS, donors, sets), few) / N_TIMED
    plain = on_two_threads(model, unpatched, few) / N_TIMED
    by_gradient = on_two_threads(model, partial(predicted, donors, sets), prompts) / N_PROMPTS
    torch.set_num_threads(2)
    looped = list(loop_in_transformer_lens(model, donors, prompts, sets["gratitude"]))
    by_loop = float(np.median(looped)) * n_patches / len(prompts)
    result = {
        "model": "smollm2",
        "patches": n_patches,
        "prompts": N_PROMPTS,
        "looped_heads": N_LOOPED,
        "processor": machine()["processor"] or machine()["architecture"],
        "n_processors": n_processors(),
        "tokens": N_TOKENS,
        "first_step_all_prompts_s": round(first, 1),
        "path_one_prompt_s": round(path, 2),
        "plain_passes_one_prompt_s": round(plain, 2),
        "transformer_lens_one_prompt_s": round(by_loop, 1),
        "attribution_one_prompt_s": round(by_gradient, 2),
        "times_faster_than_transformer_lens": round(by_loop / path, 1),
        "share_of_plain_passes": round(path / plain, 2),
        "attribution_times_faster_than_path": round(path / by_gradient, 1),
    }
    write_text(OUTPUT, json.dumps(result, indent=2) + "\n")
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
