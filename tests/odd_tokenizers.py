"""Tokenizers and chat templates of other people's kinds, small enough for the tiny models."""

from __future__ import annotations

from collections.abc import Callable

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

from tests import tiny

WORDS = (
    *("the", "kettle", "is", "on", "second", "shelf", "beside", "she", "wrote", "number", "a", "card"),
    *("buses", "leave", "at", "ten", "past", "hour", "and", "thank", "you", "so", "much", "i", "am"),
    *("grateful", "for", "lift", "of", "all", "be", "brief", "where", "lamp", "palm"),
)

#: A template in which a user's content is a list of parts, as multimodal models have it.
PARTS = (
    "{% for message in messages %}[{{ message['role'] }}] {% for part in message['content'] %}"
    "{% if part['type'] == 'text' %}{{ part['text'] }}{% endif %}{% endfor %}{{ '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}[assistant] {% endif %}"
)
#: A template that says which day it is.
DATED = (
    "{% set today = strftime_now('%d %b %Y') %}[system] Today is {{ today }}.\n"
    "{% for message in messages %}[{{ message['role'] }}] {{ message['content'] }}\n{% endfor %}"
    "{% if add_generation_prompt %}[assistant] {% endif %}"
)
#: A template with an argument of its own.
THINKING = (
    "{% for message in messages %}[{{ message['role'] }}] {{ message['content'] }}\n{% endfor %}"
    "{% if add_generation_prompt %}[assistant] {% if not enable_thinking | default(true) %}<off>"
    "{% endif %}{% endif %}"
)
#: One that refuses system messages.
NO_SYSTEM = (
    "{% if messages[0]['role'] == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}"
    "{% for message in messages %}<{{ message['role'] }}> {{ message['content'] | trim }}\n{% endfor %}"
)


def templated(template: object) -> PreTrainedTokenizerFast:
    """The tiny tokenizer with a chat template."""
    tokenizer = tiny.tokenizer()
    tokenizer.chat_template = template
    return tokenizer


def closing() -> PreTrainedTokenizerFast:
    """Puts the end of the text behind every text."""
    tokenizer = tiny.tokenizer()
    backend = tokenizer.backend_tokenizer
    end = ("<|endoftext|>", 0)
    backend.post_processor = processors.TemplateProcessing(
        single="$A <|endoftext|>", special_tokens=[end]
    )
    return PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="<|endoftext|>")


def by_words(*, unknown: str = "<unk>") -> PreTrainedTokenizerFast:
    """Whole words; has a token for unknown ones and none for the end."""
    vocabulary = {unknown: 0} | {word: i + 1 for i, word in enumerate(WORDS)}
    made = Tokenizer(models.WordLevel(vocabulary, unk_token=unknown))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    return PreTrainedTokenizerFast(tokenizer_object=made, unk_token=unknown)


def dropping_blanks() -> PreTrainedTokenizerFast:
    """As Llama 2's: ``▁you`` and ``you`` are tokens, and the blank in front of a text is dropped."""
    words = WORDS
    names = ["<unk>", "</s>", *(f"▁{word}" for word in words), *words, "▁"]
    made = Tokenizer(models.Unigram([(name, -float(i > 1)) for i, name in enumerate(names)], unk_id=0))
    made.pre_tokenizer = pre_tokenizers.Metaspace()
    made.decoder = decoders.Metaspace()
    return PreTrainedTokenizerFast(tokenizer_object=made, unk_token="<unk>", eos_token="</s>")


#: Makers by name.
TOKENIZERS: dict[str, Callable[[], PreTrainedTokenizerFast]] = {
    "tiny": tiny.tokenizer,
    "parts": lambda: templated(PARTS),
    "dated": lambda: templated(DATED),
    "thinking": lambda: templated(THINKING),
    "no system": lambda: templated(NO_SYSTEM),
    "closing": closing,
    "by words": by_words,
    "dropping blanks": dropping_blanks,
}
