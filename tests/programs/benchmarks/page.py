"""`docs/performance.md` from the benchmark's record: every number on the page comes from there."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.programs.measurements.ioi_page import RECORD as IOI
from tests.programs.measurements.ioi_page import ioi_section

ROOT = Path(__file__).parents[3]
RECORD = ROOT / "docs" / "measurements" / "benchmark.json"
COMMON_NOISE = ROOT / "docs" / "measurements" / "common_noise.json"
PREFIX = ROOT / "docs" / "measurements" / "shared_prefix.json"
READOUTS = ROOT / "docs" / "measurements" / "readouts.json"
FEW_PATCHES = ROOT / "docs" / "measurements" / "few_patches.json"
PAGE = ROOT / "docs" / "performance.md"

ARMS = {
    "a": "phase7: all heads and modes of a prompt as rows of one batch, a batch on each processor",
    "a_one": "phase7 with one prompt, on one processor",
    "a_plain": "phase7 without shared layers and rough logits",
    "b": "transformer-lens, head after head: hooks around `generate` with KV cache, 64 prompts at once",
    "c": "transformer-lens, one prompt and one head at a time",
    "d": "transformers' `generate`, as many rows, *no patch*, the same sampling",
    "d_greedy": "(d′) the same, greedy",
    "e": "the products with the weights alone, as torch multiplies, every row in every layer",
    "e_packed": "the same with packed weights",
}
#: What the sweep must reach against each arm.
WANTED = {"b": 5.0, "c": 50.0, "d": 2.0, "d_greedy": 1.4}
#: What a token of few patches may cost at most, as a multiple of the sweep's.
WANTED_FEW = 1.3
#: What the shared-prefix cache must save of a sweep's time at the default prompts to be kept.
LEAST_SAVED = 0.1


def render(record: dict[str, Any]) -> str:
    """The page in Markdown."""
    parts = [
        _opening(record),
        *(_model(name, figures) for name, figures in record["models"].items()),
        _growth(record),
        prefix_section(json.loads(PREFIX.read_text(encoding="utf-8"))),
        readouts_section(json.loads(READOUTS.read_text(encoding="utf-8"))),
        ioi_section(json.loads(IOI.read_text(encoding="utf-8"))),
        few_patches_section(json.loads(FEW_PATCHES.read_text(encoding="utf-8"))),
        _answer(record),
        _rest(record),
    ]
    return "\n\n".join(parts) + "\n"


def _opening(record: dict[str, Any]) -> str:
    machine, packages = record["machine"], record["packages"]
    return f"""# Performance

Where a section names no other source, its numbers are from `docs/measurements/benchmark.json`, written by one run of

```
tox -e bench          # or: python -m tests.programs.benchmarks
```

on {record["threads"]} threads of {machine["processor"] or machine["architecture"]} ({machine["n_cpus"]} processors, \
torch {packages["torch"]}, transformers {packages["transformers"]}, transformer-lens \
{packages["transformer-lens"]}). Times are disturbed by whatever else a machine does; ratios are taken repeat by
repeat, {_repeats(record["n_repeats"])}{record.get("note", "")}

## What is compared

A sweep patches every head of a model alone, in as many of the three modes as a batch of 512 rows holds, and \
generates
{record["n_tokens"]} tokens for each. All arms have the same model in memory, the same prompts (cut to 20 tokens, so that no arm pays for padding), heads, number of tokens,
temperature {0.8} and top-p {0.9}; none stops at an end-of-text token. Times are per generated token of one
*patched* row; phase7's baseline and self-check rows are paid for and not counted. phase7's arms share their noise;
the libraries' own `generate` draws from torch's global generator, which cannot be shared. Arms (b) to (d′) use all
processors within each operation, as the libraries do.

The weights of GPT-2 and Pythia-160m are random here: only their sizes are real. How far texts agree, which is
what the sharing of layers lives on, is another matter with random weights than with real ones (distinct texts among
the patched ones: {_distinct(record)}), so the figures of SmolLM2, whose weights
and texts are real, are the ones to go by."""


def _distinct(record: dict[str, Any]) -> str:
    return ", ".join(
        f"{figures['distinct_texts']:g} of {figures['n_patches']} on {name}"
        for name, figures in record["models"].items()
    )


def _repeats(n: int) -> str:
    return "and every arm ran once." if n == 1 else f"and the median of {n} is shown."


def _model(name: str, figures: dict[str, Any]) -> str:
    ms, ratio = figures["ms_per_token"], figures["ratio"]
    lines = [
        f"## {name}",
        "",
        f"{figures['n_heads']} heads in {figures['n_layers']} layers, {_modes(figures['n_modes'])};"
        f" {figures['distinct_texts']:g} distinct texts among a prompt's {figures['n_patches']} patched ones.",
        "",
        "| arm | | ms per token | × phase7 | wanted |",
        "| --- | --- | ---: | ---: | ---: |",
    ]
    for arm, what in ARMS.items():
        label = {
            "d_greedy": "d′",
            "a_one": "a, one",
            "a_plain": "a, plain",
            "e_packed": "e, packed",
        }.get(arm, arm)
        times = f"{ratio[arm]:.2f}" if arm in ratio else f"{ms[arm] / ms['a']:.2f}"
        wanted = _verdict(ratio[arm], WANTED[arm]) if arm in WANTED else ""
        lines.append(f"| {label} | {what} | {ms[arm]:.2f} | {times} | {wanted} |")
    lines += [
        "",
        f"{WANTED['b']:g} × (b) is {ms['b'] / WANTED['b']:.2f} ms a token and {WANTED['c']:g} × (c)"
        f" {ms['c'] / WANTED['c']:.2f}; the packed products alone take {ms['e_packed']:.2f} without shared layers.",
    ]
    return "\n".join(lines)


def _modes(n: int) -> str:
    return "one mode" if n == 1 else f"{n} modes"


def _verdict(reached: float, wanted: float) -> str:
    return f"≥ {wanted:g}: {'reached' if reached >= wanted else '*not reached*'}"


def _growth(record: dict[str, Any]) -> str:
    growth = record["growth"]
    titles = {
        "heads": "heads patched (SmolLM2, spread over all layers)",
        "tokens": "tokens generated (SmolLM2, all heads)",
        "prompts": "prompts (SmolLM2, all heads)",
        "layers": "layers (GPT-2's width, random weights, 72 heads spread over all layers)",
    }
    lines = [
        "## How the cost grows",
        "",
        "Seconds of a sweep in one mode, of one prompt on each processor where prompts are not counted.",
        "",
    ]
    for what, title in titles.items():
        lines += [*_table(title, growth[what]), ""]
    lines.append(
        "A batch has a price of its own, because the weights must be read at every step; beyond it cost is"
        " proportional to rows. More tokens cost a little more each, since texts part from the baseline and"
        " share fewer layers. Prompts are batches of their own, one on each processor at a time: one prompt"
        " alone leaves the others idle."
    )
    return "\n".join(lines)


def _table(title: str, pairs: Sequence[Sequence[float]]) -> list[str]:
    return [
        f"| {title} | {' | '.join(f'{n:g}' for n, _ in pairs)} |",
        "| --- |" + " ---: |" * len(pairs),
        f"| seconds | {' | '.join(f'{s:.1f}' for _, s in pairs)} |",
    ]


def prefix_section(record: dict[str, Any]) -> str:
    """What the shared-prefix cache saves, and whether that is enough to keep it."""
    lengths = record["models"]["smollm2"]["default_prompts"]
    machine = record["machine"]
    lines = [
        "## The prompt stored once",
        "",
        "phase7 stores the prompt's keys and values once for all rows (`SharedPrefixLayer`). Here the full sweep's"
        " batch in one mode runs with that cache, and with two that give every slot the prompt's keys and values"
        " in one preallocated tensor a layer; slots and shared layers are the same"
        " (`tests/programs/benchmarks/ordinary_cache.py`). *By slot* hands ordinary tensors to the model's attention, which"
        " copies them to every query head where query heads share a KV head. *Grouped* spares that copy, as phase7's"
        " cache does, and so shows how much of the saving comes from the prompt alone. Times are a processor's for"
        f" each of {record['n_tokens']} generated tokens of a patched row, since every batch has one processor; other"
        " work on the machine disturbs them less than wall-clock time. Ratios are taken repeat by repeat, and the"
        f" median of {record['n_repeats']} is shown. Memory is that of one batch's keys and values."
        " `python -m tests.programs.benchmarks --only prefix` measures this and wrote `docs/measurements/shared_prefix.json`"
        f" on {record['threads']} processors of {machine['processor'] or machine['architecture']}"
        f" (torch {record['packages']['torch']}).",
        "",
        "| model | prompt tokens | once, ms | by slot, ms | by slot ÷ once | saved | wall-clock ratio"
        " | grouped ÷ once | memory, once | by slot | texts that differ |",
        "| --- |" + " ---: |" * 10,
    ]
    for name, figures in record["models"].items():
        lines += [_prefix_row(name, size, found) for size, found in figures["sizes"].items()]
    saved = _saved(record["models"]["smollm2"]["sizes"]["default"])
    verdict = "is kept" if saved >= LEAST_SAVED else "*is not worth its code*"
    lines += [
        "",
        f"The default prompts are SmolLM2's, chat template included: {lengths['n']} with {lengths['min']} to"
        f" {lengths['max']} tokens, {lengths['median']:g} in the median. The class has to save"
        f" {100 * LEAST_SAVED:.0f} % of a sweep's time there; it saves {100 * saved:.0f} %, so it {verdict}.",
    ]
    return "\n".join(lines)


def _prefix_row(name: str, size: str, found: dict[str, Any]) -> str:
    ms, ratio, gigabytes = found["ms_per_token"], found["ratio"], found["cache_gb"]
    cells = [
        name,
        f"{found['prompt_tokens']:g}" + (" (default)" if size == "default" else ""),
        f"{ms['shared']:.2f}",
        f"{ms['ordinary']:.2f}",
        f"{ratio['ordinary']:.2f}",
        f"{100 * _saved(found):.0f} %",
        f"{found['wall_ratio']['ordinary']:.2f}",
        f"{ratio['grouped']:.2f}" if "grouped" in ratio else "",
        f"{gigabytes['shared']:.2f} GB",
        f"{gigabytes['ordinary']:.2f} GB",
        f"{found['n_unequal_texts']} of {found['n_texts']}",
    ]
    return f"| {' | '.join(cells)} |"


def _saved(found: dict[str, Any]) -> float:
    """Share of the time with the ordinary cache."""
    return 1 - 1 / float(found["ratio"]["ordinary"])


def readouts_section(record: dict[str, Any]) -> str:
    """What read-outs of all heads cost, and against what."""
    n, tokens, prompts = record["patches"], record["tokens"], record["prompts"]
    looped = record["transformer_lens_one_prompt_s"]
    path, plain = record["path_one_prompt_s"], record["plain_passes_one_prompt_s"]
    return f"""\
## Read-outs of all heads

Read-outs follow a path of tokens instead of sampling one: all steps are one pass, and rows share every layer below \
their patch. Measured in one run on {record["model"]}, {n} patches (every head with both donors), on \
{record["n_processors"]} processors of {record["processor"]}; `python -m tests.programs.measurements.readouts` prints it. \
The loop in transformer-lens runs one head at a time with all {prompts} prompts as one padded batch and makes logits \
at the path's {tokens} places alone; its time is the median of {record["looped_heads"]} heads spread over the layers, \
times the patches, by prompt. Plain passes are unpatched, of as many rows × tokens, without the prompt.

| | seconds a prompt | × a path by phase7 |
| --- | ---: | ---: |
| phase7, path of {tokens} tokens, exact | {path:.2f} | 1 |
| transformer-lens, head after head | {looped:.1f} | {looped / path:.1f} |
| plain unpatched passes | {plain:.2f} | {plain / path:.2f} |
| phase7, attribution (first order) | {record["attribution_one_prompt_s"]:.2f} | \
{record["attribution_one_prompt_s"] / path:.2f} |

By the first step alone, all {n} patches on {prompts} prompts take {record["first_step_all_prompts_s"]:.0f} s."""


def few_patches_section(record: dict[str, Any]) -> str:
    """What few patches of many prompts cost, beside a sweep, and why."""
    ms, ratio, n = record["ms_per_token"], record["ratio_to_sweep"], len(record["repeats"])
    rows = {
        "the full sweep": "sweep",
        f"2 patches × 8 samples, {record['prompts_together']} prompts together": "together",
        "the same, one prompt after the other": "alone",
    }
    lines = [
        "## Few patches of many prompts",
        "",
        "A confirmation patches little in many prompts: 2 patches × 8 samples are 32 rows a prompt, baseline and"
        " self-checks included, and a batch of so few rows pays for reading every weight. So up to 16 prompts pass"
        " the model together (`phase7/engine/decode/together.py`); within the attention only what a prompt does with"
        " keys and values runs prompt by prompt (`phase7/engine/model/side_by_side.py`). Their prompts are run in one"
        " pass before, every token a row (`phase7/engine/model/whole_prompts.py`). Every prompt"
        " stays one entry of the store, with the tokens and bits that it has alone"
        " (`tests/properties/test_together_laws.py`). This holds with float32 on a CPU, where a packed product's row"
        " depends on no other row, and is compared on the loaded model; elsewhere prompts run one after the other."
        " `python -m tests.programs.measurements.few_patches` times SmolLM2 with its default prompts: the full sweep"
        f" (270 patches, 1 sample), and 2 patches × 8 samples of {record['prompts']} prompts. Times are of one"
        " processor for each token of each row, baseline and self-checks included; the median of"
        f" {n} is shown{record.get('note', '')}.",
        "",
        f"| | ms per token | {' | '.join(f'repeat {i}' for i in range(1, n + 1))} | × the sweep |",
        "| --- |" + " ---: |" * (n + 2),
    ]
    for label, name in rows.items():
        times = [f"{one[name]:.2f}" for one in record["repeats"]]
        of_sweep = f"{ratio[name]:.2f}" if name in ratio else "1"
        lines.append(f"| {' | '.join([label, f'{ms[name]:.2f}', *times, of_sweep])} |")
    lines += [
        "",
        f"Together a token costs {ratio['together'] / ratio['alone']:.2f} of what it costs alone; wanted was"
        f" {WANTED_FEW:g} × the sweep's ({'reached' if ratio['together'] <= WANTED_FEW else '*not reached*'})."
        + _why_few_cost_more(record),
    ]
    return "\n".join(lines)


def _why_few_cost_more(record: dict[str, Any]) -> str:
    """What the sweep shares and few patches cannot, by what was counted."""
    few, sweep = (record["work_by_row"][of] for of in ("few", "sweep"))
    ratio = products_of_a_row(few, record["products"]) / products_of_a_row(sweep, record["products"])
    return (
        " A sweep's rows all have the same noise, so they agree for long: of a row's layers"
        f" {sweep['layers']:.2f} are computed (the others are shared), and of its logits {sweep['exact_logits']:.2f}"
        f" exactly (the others from another row's, in half the time). With 8 samples it is {few['layers']:.2f} and"
        f" {few['exact_logits']:.2f} ({few['copied_logits']:.2f} are a self-check's or another row's with the bits of"
        f" its baseline, and cost nothing), and there are {few['prefilled_tokens']:.3f} tokens of the prompt for each"
        f" token of a row, not {sweep['prefilled_tokens']:.3f}. The products with the weights alone that this"
        f" leaves are {ratio:.2f} × the sweep's, without the attention of each prompt and the noise, of which every"
        " sample of every prompt has its own. Less would take another way to share rows."
    )


def products_of_a_row(counts: dict[str, float], products: dict[str, float]) -> float:
    """Multiplications with weights for a row's token, by what is computed of it.

    Parameters
    ----------
    counts : dict
        ``work_by_row`` of the record.
    products : dict
        Multiplications of one token in all attentions, in all MLPs, and for its logits.
    """
    in_layers = counts["attentions"] * products["attention"] + counts["layers"] * products["mlp"]
    near = 1 - counts["exact_logits"] - counts["copied_logits"]
    logits = (counts["exact_logits"] + near / 2) * products["logits"]
    return in_layers + logits + counts["prefilled_tokens"] * (products["attention"] + products["mlp"])


def _answer(record: dict[str, Any]) -> str:
    heading = "## Cost of an answer"
    noise = json.loads(COMMON_NOISE.read_text(encoding="utf-8"))
    speed = record["models"]["smollm2"]["ratio"]["b"]
    lines = [
        heading,
        "",
        f"Shared noise gives the same interval from fewer generations (SmolLM2, {noise['n_prompts']} prompts, heads"
        f" {noise['heads']}; `python -m tests.programs.measurements.common_noise`), and each generation costs less. Time to"
        " a given half-width of the interval of Δ, against arm (b) with independent noise:",
        "",
        "| metric | times fewer generations | × speed | = times faster |",
        "| --- | ---: | ---: | ---: |",
    ]
    for metric, figures in noise["ratios"].items():
        fewer = figures["times_fewer_generations"]
        lines.append(f"| `{metric}` | {fewer:.2f} | {speed:.2f} | {fewer * speed:.1f} |")
    return "\n".join(lines)


def _rest(record: dict[str, Any]) -> str:
    warm = record["warm"]
    rebuild = "not measured" if warm["rebuild_s"] is None else f"{warm['rebuild_s']:.1f} s"
    return f"""## The rest

- Peak memory of a process that sweeps GPT-2's size with 433 rows of {30} tokens: {record["peak_memory_gb"]:.2f} GB; the bound told before such a run: \
{record["printed_bound_gb"]:.2f} GB.
- `python -m phase7 build` when quickstart is up to date: {rebuild}.
- `python -m phase7 --help`: {warm["help_s"]:.2f} s.

## Where the speed comes from

- **The prompt is prefilled once** and its keys and values are stored once for all rows; attention over them is
  one product for the batch.
- **What a patch cannot change is shared.** A row patched in layer L has, up to the heads' outputs in L, the
  activations of every other row with the same tokens so far, so each layer computes one row for each distinct
  history among the rows not yet patched there, and one for each row that is (`phase7/engine/decode/rows.py`). Under common
  noise most texts agree with the baseline for long.
- **Weights are packed once.** A plain product on a CPU lays its weight out anew at every call; phase7's
  products read a copy that is laid out for the processor (`phase7/engine/model/packed.py`). The arms (b) to (d′) run the
  libraries as they are.
- **Most rows' logits are made of their difference to another row's**, in bfloat16 on processors that have it, with a
  bound on the error; tokens whose order that error could change are compared by their exact logits, and a row that is
  still not certain gets logits of its own, so the tokens are the same
  (`phase7/engine/decode/drawing.py`, `phase7/engine/model/rough.py`).
- **A batch on each processor**, each on one thread, so that none waits for another (`phase7/run/threads.py`).
- **Finished rows are dropped.**
- **Top-p without a sort**, noise drawn once for each (prompt, sample, step), distinct texts scored once.

What holds to the bit: with float32 on the processors tested, shared layers, dropped rows, the number of rows, of
batches at once, and their order change no bit of any row's logits, because a packed product's row depends on nothing else and every other
product has whole blocks of 16 rows (`tests/properties/test_packed_laws.py`; `tests/properties/test_sharing_laws.py` compares with the plain engine). Rough logits change no token
(`tests/properties/test_drawing_laws.py`). What holds to rounding only: other processors, devices and dtypes against
one another."""
