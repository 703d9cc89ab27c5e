"""From a prompt's text to the tokens a model reads, and back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from phase7.engine.model.bridge import Model
from phase7.vocabulary.errors import UserError


def encode(
    model: Model, text: str, prompt_format: Literal["raw", "chat"], *, n_new_tokens: int = 0
) -> tuple[int, ...]:
    """Token ids of a prompt as the model reads it.

    ``raw`` is the text as the tokenizer takes it; ``chat`` is one user message in the model's chat
    template, followed by the template's opening of the assistant's turn.

    Raises
    ------
    UserError
        If there are no tokens, prompt and `n_new_tokens` exceed the model's context, or the tokenizer
        gives a token that the model has no embedding of.
    """
    if prompt_format == "chat":
        messages = [{"role": "user", "content": text}]
        encoded = model.tokenizer.apply_chat_template(
            messages, tokenize=True, add_generation_prompt=True, return_dict=True
        )
    else:
        encoded = model.tokenizer(text)
    ids = tuple(int(token) for token in encoded["input_ids"])
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


def decode(model: Model, tokens: Sequence[int]) -> str:
    """Text of generated tokens; special tokens are left out."""
    text: str = model.tokenizer.decode(
        list(tokens), skip_special_tokens=True, clean_up_tokenization_spaces=False
    )
    return text
