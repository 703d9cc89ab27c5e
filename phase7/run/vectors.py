"""The chosen set's direction as a file that plain transformers code can load, and a page beside it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save

from phase7.effects.answer import AnswerScores
from phase7.experiment.stages import Cell, Stage
from phase7.run.executor import Executor
from phase7.store.writing import write_bytes, write_text

_README = """\
# {emotion} in {model}: the direction that {n} heads write

Made by phase7 from the profile's donors: for each layer with chosen heads, the sum over these heads of
W_O (z_emotion - z_neutral), where z is a head's output before the output projection at the last token of
the prompt, averaged over {n_emotion} {emotion} prompts and {n_neutral} neutral ones.

- Heads: `{heads}`
- Model: {model}, fingerprint `{fingerprint}`; prompts as {format}
- Chosen on discovery prompts at strength {strength:g}, write `{write}`, mode `{mode}`

`{file}` holds, in float32:

| tensor | shape | what it is |
|---|---|---|
{rows}| `sum` | [{width}] | the sum of all layers |

To steer, add α times a layer's tensor to the output of the module named above, at the last token of
the prompt and at every generated one: that is phase7's patch of these heads with `--write add
--strength α`. `sum` is the direction as one vector, for a look at what it promotes or for a single layer
of your choice; added at one layer it is not the same intervention. The tensors have the size of the
donors' difference: no scaling is left out.

docs/how-to/use-the-vector.md has the code.
"""


@dataclass(frozen=True, kw_only=True, eq=False)
class Vector:
    """The direction of a chosen cell.

    Attributes
    ----------
    stage : Stage
        Whose donors it is made of.
    cell : Cell
    layers : dict of int to float32 array [d_model]
    modules : dict of int to str
        Transformers' module whose output each is added to.
    """

    stage: Stage
    cell: Cell
    layers: dict[int, np.ndarray[Any, np.dtype[np.float32]]]
    modules: dict[int, str]


def vector_of(stage: Stage, answer: AnswerScores | None, executor: Executor) -> Vector | None:
    """The direction of what was chosen to move the text; None where nothing was."""
    if answer is None or answer.chosen is None:
        return None
    return Vector(stage=stage, cell=answer.chosen, **executor.vector(stage, answer.chosen.heads))


def write_vector(folder: Path, vector: Vector) -> list[Path]:
    """Write ``<model>_<emotion>.safetensors`` and its page; both paths."""
    stage, cell = vector.stage, vector.cell
    stem = f"{stage.files.name}_{stage.emotion.name}"
    tensors = {f"layers.{layer}": one for layer, one in sorted(vector.layers.items())}
    tensors["sum"] = np.sum(list(tensors.values()), axis=0, dtype=np.float32)
    metadata = {
        "model": stage.files.name,
        "fingerprint": stage.files.fingerprint,
        "emotion": stage.emotion.name,
        "heads": cell.label,
        "chosen_strength": f"{cell.strength:g}",
        "chosen_write": cell.write,
        "mode": cell.mode,
        "prompt_format": stage.prompt_format,
        "modules": json.dumps({str(layer): name for layer, name in vector.modules.items()}),
        "made_by": "phase7",
    }
    path = folder / f"{stem}.safetensors"
    write_bytes(path, save(tensors, metadata))
    rows = "".join(
        f"| `layers.{layer}` | [{len(vector.layers[layer])}] | added to the output of `{name}` |\n"
        for layer, name in sorted(vector.modules.items())
    )
    page = _README.format(
        emotion=stage.emotion.name, model=stage.files.name, n=len(cell.heads),
        n_emotion=len(stage.emotion.prompts), n_neutral=len(stage.neutral.prompts), heads=cell.label,
        fingerprint=stage.files.fingerprint, format=stage.prompt_format, strength=cell.strength,
        write=cell.write, mode=cell.mode, file=path.name, rows=rows, width=len(tensors["sum"]),
    )  # fmt: skip
    write_text(folder / f"{stem}.md", page)
    return [path, folder / f"{stem}.md"]
