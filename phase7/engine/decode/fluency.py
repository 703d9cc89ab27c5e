"""How likely the unpatched model finds some texts after a prompt, and how far they repeat themselves.

Both are properties of tokens that are there already, so nothing is drawn: one padded forward pass over
the distinct texts of a batch, behind a prefilled prompt.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch

from phase7.engine.decode.logits import logits_of, pieces
from phase7.engine.model.bridge import Model
from phase7.engine.model.faithful import check_lengths, not_finite

#: Texts of one forward pass.
_TEXTS_AT_ONCE = 64

Text = tuple[int, ...]
Floats = npt.NDArray[np.float64]


@torch.inference_mode()
def mean_ln_p(model: Model, tokens: Sequence[int], texts: Sequence[Text]) -> Floats:
    """Mean ln p per token of each text, under the model's own distribution (temperature 1, all tokens).

    Parameters
    ----------
    tokens : sequence of int
        The prompt as the model reads it.
    texts : sequence of tuple of int
        Token ids without the end-of-text token. Equal texts are computed once.

    Returns
    -------
    float64 array [text]
        In nats; NaN for a text without tokens, of which there is nothing to say.

    Raises
    ------
    UserError
        If the model runs otherwise than transformers at these lengths, or gives what is no number.
    """
    distinct = sorted({text for text in texts if text}, key=lambda text: (len(text), text))
    found: dict[Text, float] = {(): float("nan")}
    if distinct:
        check_lengths(model, len(tokens), len(distinct[-1]))
    for start in range(0, len(distinct), _TEXTS_AT_ONCE):
        some = distinct[start : start + _TEXTS_AT_ONCE]
        found |= dict(zip(some, _read(model, tokens, some), strict=True))
    return np.array([found[text] for text in texts])


def _read(model: Model, tokens: Sequence[int], texts: Sequence[Text]) -> list[float]:
    """Mean ln p of some texts of at least one token, in one pass; what fills up the rows is not read."""
    longest = max(map(len, texts))
    cache, first = model.new_cache(), len(tokens) - 1
    rows = [[tokens[-1], *text[:-1], *[text[-1]] * (longest - len(text))] for text in texts]
    ids = torch.tensor(rows, dtype=torch.long, device=model.device)
    places = torch.arange(first, first + longest, device=model.device)[None]
    with model.unembedding_apart() as unembed:
        if first:
            before = torch.tensor([list(tokens[:-1])], dtype=torch.long, device=model.device)
            model.bridge(
                before, past_key_values=cache, use_cache=True, position_ids=torch.arange(first)[None]
            )
            cache.batch_repeat_interleave(len(texts))
        states = model.bridge(ids, past_key_values=cache, use_cache=True, position_ids=places)
        steps = np.concatenate([np.arange(len(text)) + i * longest for i, text in enumerate(texts)])
        said = np.concatenate([np.array(text) for text in texts])
        ln_p = np.empty(steps.size)
        for some in pieces(np.arange(steps.size)):
            logits = logits_of(unembed, states.flatten(0, 1), steps[some], model.row_block)
            chosen = torch.from_numpy(said[some]).to(model.device)[:, None]
            wide = logits.float().log_softmax(dim=-1).gather(1, chosen)[:, 0]
            ln_p[some] = wide.double().cpu().numpy()
    if not np.isfinite(ln_p).all():
        raise not_finite(model, "the likelihood of a text")
    ends = np.cumsum([len(text) for text in texts])
    return [float(part.mean()) for part in np.split(ln_p, ends[:-1])]


def repeated_4grams(text: Text) -> float:
    """Share of a text's 4-grams of tokens that repeat an earlier one; NaN with fewer than 4 tokens.

    Examples
    --------
    >>> repeated_4grams((1, 2, 3, 4, 1, 2, 3, 4))
    0.2
    """
    grams = [text[i : i + 4] for i in range(len(text) - 3)]
    return 1 - len(set(grams)) / len(grams) if grams else float("nan")
