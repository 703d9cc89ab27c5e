"""What a command that succeeded must have done, computed anew: no wrong result without a word.

The tokens that it read are compared with transformers' own, and its texts with those that plain
transformers generates from them.
"""

from __future__ import annotations

import inspect
import pickle
import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from itertools import product
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from transformers import AutoModelForCausalLM
from transformers.utils import chat_template_utils

import phase7
from phase7.engine.model import loading
from phase7.models.framing import Framing
from phase7.run import framed
from phase7.vocabulary.metrics import METRICS

#: Kinds of cases in which a model reads every prompt as it is written.
FAITHFUL = ("templates, faithful", "byte-order marks", "control characters")

Read = tuple[Any, str, Framing, tuple[int, ...]]


def refuses_no_numbers() -> bool:
    """Whether loading a model looks for weights that are no numbers."""
    return "NaN" in inspect.getsource(loading)


class Watch:
    """Notes what each command read of its prompts."""

    def __init__(self) -> None:
        self.read: list[Read] = []
        made = framed.tokens_of

        def noting(tokenizer: Any, text: str, framing: Framing) -> tuple[int, ...]:
            tokens = made(tokenizer, text, framing)
            self.read.append((tokenizer, text, framing, tokens))
            return tokens

        framed.tokens_of = noting

    def wrong(self, kind: str, folder: Path) -> str:
        """What is wrong about a command that succeeded; empty if nothing."""
        try:
            return next(iter([*self._tokens(kind), *self._results(kind, folder)]), "")
        finally:
            self.read.clear()

    def _tokens(self, kind: str) -> Iterator[str]:
        first: dict[tuple[int, tuple[int, ...]], str] = {}
        for tokenizer, text, framing, tokens in self.read:
            other = first.setdefault((id(tokenizer), tokens), text)
            if other != text and tokens:
                yield f"{other!r} and {text!r} are the same tokens"
            if kind == "tokenizers, damaged":
                continue
            if framing.format == "chat" and tokens not in _renderings(tokenizer, text, framing):
                yield f"{text!r} is read as {tokenizer.decode(tokens)!r}, unlike transformers"
            whole = tokenizer.decode(tokens)
            if kind in FAITHFUL and not (text.strip() in whole and framing.system.strip() in whole):
                yield f"{text!r} is not in what is read: {whole!r}"

    def _results(self, kind: str, folder: Path) -> Iterator[str]:
        path = folder / "out" / "x.pkl"
        if not path.exists():
            return
        result = pickle.loads(path.read_bytes())
        texts = result["baseline"]["texts"]
        tree = phase7.open_effects(path.with_suffix(".nc"))
        (group,) = (node for node in tree.subtree if node.path.count("/") == 2)
        stored = group["texts"].to_dataset().baseline_text.values.tolist()
        if stored != texts:
            yield f"texts {texts!r} in the pickle and {stored!r} in the effects file"
        if kind == "scorers":
            (source,) = (one.read_text(encoding="utf-8") for one in folder.glob("own_*.py"))
            (factor,) = map(float, re.findall(r"'politeness': \[(\d) \* float\(len", source))
            at, expected = METRICS.index("politeness"), [factor * len(text) for (text,) in texts]
            if result["baseline"]["scores"][at].tolist() != expected:
                yield f"scores {result['baseline']['scores'][at]} of {texts!r}, not {expected}"
        elif kind != "tokenizers, damaged" and self.read and result["settings"]["temperature"] == 0:
            yield from self._unlike(result, folder)

    def _unlike(self, result: dict[str, Any], folder: Path) -> Iterator[str]:
        model = AutoModelForCausalLM.from_pretrained(
            folder / result["settings"]["model"], attn_implementation="eager"
        ).eval()
        by_text = {text: (tokenizer, tokens) for tokenizer, text, _, tokens in self.read}
        pairs = zip(result["prompts"]["neutral"], result["baseline"]["texts"], strict=True)
        for prompt, (text,) in pairs:
            expected = _greedy(model, *by_text[prompt], result["settings"]["max_new_tokens"])
            if text != expected.replace("\0", "\ufffd"):
                yield f"{prompt!r} is continued by {text!r}, by transformers with {expected!r}"


def _renderings(tokenizer: Any, text: str, framing: Framing) -> list[tuple[int, ...]]:
    """The tokens that transformers makes of a prompt on the framing's day, content as text or as parts."""

    def forms(content: str) -> list[Any]:
        return [content, [{"type": "text", "text": content}]]

    found = []
    for user, system in product(forms(text), forms(framing.system)):
        messages = [{"role": "user", "content": user}]
        if framing.system:
            messages.insert(0, {"role": "system", "content": system})
        with _day(framing.date):
            try:
                made = tokenizer.apply_chat_template(
                    messages, add_generation_prompt=True, **dict(framing.arguments)
                )
            except Exception:
                continue
        found.append(tuple(made["input_ids"]))
    return found


@contextmanager
def _day(date: str) -> Iterator[None]:
    """Let transformers take a day for today."""
    if not date:
        yield
        return

    class Stopped(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> Any:
            return datetime.fromisoformat(date)

    with mock.patch.object(chat_template_utils, "datetime", Stopped):
        yield


def _greedy(model: Any, tokenizer: Any, tokens: tuple[int, ...], n: int) -> str:
    ends = {model.generation_config.eos_token_id}
    if tokenizer.eos_token in tokenizer.get_vocab():
        ends.add(tokenizer.get_vocab()[tokenizer.eos_token])
    prompt = torch.tensor([tokens])
    with torch.inference_mode():
        made = model.generate(
            prompt, attention_mask=torch.ones_like(prompt), max_new_tokens=n, do_sample=False,
            eos_token_id=sorted(ends - {None}) or None, pad_token_id=0,
        )  # fmt: skip
    before, whole = (
        tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)
        for ids in (tokens, made[0].tolist())
    )
    if not whole.startswith(before):
        new = made[0, len(tokens) :].tolist()
        alone: str = tokenizer.decode(new, skip_special_tokens=True, clean_up_tokenization_spaces=False)
        return alone
    text: str = whole[len(before) :]
    return text
