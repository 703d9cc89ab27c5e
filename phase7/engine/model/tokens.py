"""From a prompt's text to the tokens a model reads, and back."""

from __future__ import annotations

from collections.abc import Sequence

from phase7.engine.model.bridge import Model
from phase7.models.framing import Format, Framing
from phase7.models.tokenizer import continuation_text, tokens_of
from phase7.vocabulary.errors import UserError


def encode(
    model: Model, text: str, framing: Framing | Format, *, n_new_tokens: int = 0
) -> tuple[int, ...]:
    """Token ids of a prompt as the model reads it.

    Parameters
    ----------
    framing : Framing or {"raw", "chat"}
        What surrounds the text; a format alone, nothing more than that.
    n_new_tokens : int
        How many are to follow.

    Raises
    ------
    UserError
        If there are no tokens, prompt and `n_new_tokens` exceed the model's context, the tokenizer gives
        a token that the model has no embedding of, or the model's chat template cannot be used.
    """
    surrounding = framing if isinstance(framing, Framing) else Framing(format=framing)
    ids = tokens_of(model.tokenizer, text, surrounding)
    if not ids or len(ids) + n_new_tokens > model.n_context:
        raise UserError(
            expected=f"1 to {model.n_context - n_new_tokens} tokens (context {model.n_context},"
            f" {n_new_tokens} kept for the continuation)",
            got=f"{len(ids)} tokens",
            where=f"prompt {text[:60]!r}",
            remedy="shorten or lengthen the prompt, or ask for fewer new tokens",
        )
    n_embeddings = model.bridge.original_model.get_input_embeddings().weight.shape[0]
    if max(ids) >= n_embeddings:
        raise UserError(
            expected=f"token ids below {n_embeddings}, the rows of the model's embedding",
            got=f"{max(ids)} ({model.tokenizer.convert_ids_to_tokens(max(ids))!r})",
            where=f"prompt {text[:60]!r}",
            remedy="leave that token out of prompt and chat template",
        )
    return ids


def decode(model: Model, tokens: Sequence[int], *, after: Sequence[int] = ()) -> str:
    """Text of tokens generated `after` a prompt's tokens; special tokens are left out."""
    return continuation_text(model.tokenizer, tokens, after)
