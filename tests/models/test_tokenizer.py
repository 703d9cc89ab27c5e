"""What a model reads of a prompt, and the text of what it writes, against plain transformers."""

from __future__ import annotations

from datetime import datetime

import pytest

from phase7.models.framing import CHAT, RAW, Framing, template_sources
from phase7.models.tokenizer import (
    closing_tokens,
    continuation_text,
    digests,
    load_tokenizer,
    reads,
    tokens_of,
)
from phase7.vocabulary.errors import UserError
from tests import odd_tokenizers as odd
from tests import tiny

PROMPT, OTHER = "the kettle is on the shelf", "she wrote the number"


def plain(tokenizer, *messages, **options) -> tuple[int, ...]:
    """The tokens that transformers makes of messages, each (role, content)."""
    conversation = [{"role": role, "content": content} for role, content in messages]
    made = tokenizer.apply_chat_template(conversation, add_generation_prompt=True, **options)
    return tuple(made["input_ids"])


def digest(tokenizer, prompt: str, framing: Framing) -> dict[str, str]:
    return digests(tokenizer, {prompt: tokens_of(tokenizer, prompt, framing)}, framing)


# --- chat ----------------------------------------------------------------------------------------


def test_content_is_passed_in_the_form_that_the_template_reads():
    tokenizer = odd.templated(odd.PARTS)
    parts = [{"type": "text", "text": PROMPT}]
    assert tokens_of(tokenizer, PROMPT, CHAT) == plain(tokenizer, ("user", parts))
    assert plain(tokenizer, ("user", PROMPT)) == plain(tokenizer, ("user", OTHER))  # what it was
    text = tiny.tokenizer(chat=True)
    assert tokens_of(text, PROMPT, CHAT) == plain(text, ("user", PROMPT))


def test_a_template_may_read_user_and_system_in_different_forms():
    tokenizer = odd.templated(
        "{% for m in messages %}{% if m['role'] == 'system' %}{{ m['content'] }}|{% else %}"
        "{{ m['content'][0]['text'] }}>{% endif %}{% endfor %}"
    )
    framing = Framing(format="chat", system="be brief")
    expected = tuple(tokenizer(f"be brief|{PROMPT}>")["input_ids"])
    assert tokens_of(tokenizer, PROMPT, framing) == expected


@pytest.mark.parametrize("template", [odd.PARTS, odd.THINKING])
def test_a_system_message_stands_first(template):
    tokenizer = odd.templated(template)
    framing = Framing(format="chat", system="be brief")
    text = f"[system] be brief\n[user] {PROMPT}\n[assistant] "
    assert tokens_of(tokenizer, PROMPT, framing) == tuple(tokenizer(text)["input_ids"])


def test_template_arguments_reach_the_template():
    tokenizer = odd.templated(odd.THINKING)
    off = Framing(format="chat", arguments=(("enable_thinking", False),))
    expected = plain(tokenizer, ("user", PROMPT), enable_thinking=False)
    assert tokens_of(tokenizer, PROMPT, off) == expected != tokens_of(tokenizer, PROMPT, CHAT)
    assert reads(tokenizer, "enable_thinking") and not reads(tokenizer, "enable_think")


@pytest.mark.parametrize(
    "form", ["%d %b %Y", "%Y-%m-%d", "%A %-d. %B, %H:%M:%S", "100%% on %j|%%d", "no day", "%e%p%%"]
)
def test_a_template_takes_the_given_day_for_today(form):
    tokenizer = odd.templated("{{ strftime_now(" + repr(form) + ") }}|{{ messages[0]['content'] }}")
    day = Framing(format="chat", date="2024-02-29")
    expected = f"{datetime(2024, 2, 29).strftime(form)}|{PROMPT}"
    assert tokens_of(tokenizer, PROMPT, day) == tuple(tokenizer(expected)["input_ids"])


def test_the_clock_is_stopped_within_macros_and_leaves_blanks_alone():
    tokenizer = odd.templated(
        "  {% macro day() %}{{ strftime_now('%Y') }}{% endmacro %}\n\n"
        "{% if strftime_now is defined %}{{ day() }}{% endif %}{{ messages[0]['content'] }}"
    )
    now = datetime.now().date()
    today, other = (Framing(format="chat", date=d) for d in (now.isoformat(), "1999-01-01"))
    assert tokens_of(tokenizer, PROMPT, today) == plain(tokenizer, ("user", PROMPT))
    text = tokenizer.decode(tokens_of(tokenizer, PROMPT, other))
    assert text == tokenizer.decode(plain(tokenizer, ("user", PROMPT))).replace(str(now.year), "1999")


@pytest.mark.parametrize(
    ("template", "framing", "told"),
    [
        ("{{ raise_exception('only images') }}", CHAT, "TemplateError: only images"),
        ("{% for %}", CHAT, "TemplateSyntaxError"),
        ("{{ messages[7]['content'].strip() }}", CHAT, "UndefinedError"),
        ("{{ 1 // 0 }}", CHAT, "ZeroDivisionError"),
        ("nothing of it", CHAT, "got one that leaves it out"),
        (odd.NO_SYSTEM, Framing(format="chat", system="be brief"), "System role not supported"),
        (
            "{{ messages[-1]['content'] }}",
            Framing(format="chat", system="be brief"),
            "got one that leaves it out",
        ),
        ({"tool": odd.DATED, "rag": odd.DATED}, CHAT, "got the names rag, tool"),
        ("{{ ['a', 'b'] | random }}{{ messages[0]['content'] }}", CHAT, "one that draws at random"),
        ("{{ lipsum() }}{{ messages[0]['content'] }}", CHAT, "one that draws at random"),
    ],
)
def test_a_template_that_cannot_be_used_is_refused_in_one_line(template, framing, told):
    tokenizer = odd.templated(template)
    with pytest.raises(UserError) as caught:
        tokens_of(tokenizer, PROMPT, framing)
    assert told in str(caught.value)
    assert caught.value.where.startswith("chat template of ")
    assert "\n" not in str(caught.value)


def test_of_several_templates_the_default_is_read():
    tokenizer = odd.templated({"tool": "x", "default": odd.THINKING})
    assert tokens_of(tokenizer, PROMPT, CHAT) == tokens_of(odd.templated(odd.THINKING), PROMPT, CHAT)


@pytest.mark.parametrize("name", ["messages", "tokenize", "chat_template", "strftime_now", "phase7_day"])
def test_an_argument_that_is_not_the_templates_own_is_refused(name):
    framing = Framing(format="chat", arguments=((name, "x"),))
    with pytest.raises(UserError, match=f"got '{name}'"):
        tokens_of(odd.templated(odd.THINKING), PROMPT, framing)


# --- raw -----------------------------------------------------------------------------------------


def test_an_end_behind_every_text_is_no_part_of_a_prompt():
    tokenizer = odd.closing()
    assert tokenizer(PROMPT)["input_ids"][-1] == 0
    assert closing_tokens(tokenizer) == (0,)
    assert tokens_of(tokenizer, PROMPT, RAW) == tuple(tiny.tokenizer()(PROMPT)["input_ids"])


def test_an_end_that_the_user_wrote_stays():
    text = f"{PROMPT}<|endoftext|>"
    for tokenizer in (odd.closing(), tiny.tokenizer()):
        assert tokens_of(tokenizer, text, RAW)[-1] == 0
    assert closing_tokens(tiny.tokenizer()) == ()


def test_a_system_message_needs_the_format_chat():
    with pytest.raises(UserError, match="expected the format chat, which a system message needs"):
        tokens_of(tiny.tokenizer(), PROMPT, Framing(format="raw", system="be brief"))


# --- ends and texts ------------------------------------------------------------------------------


def test_a_blank_in_front_of_a_continuation_is_kept():
    tokenizer = odd.dropping_blanks()
    behind, before = tokenizer.convert_tokens_to_ids(["▁you", "you"])
    prompt = tokens_of(tokenizer, "thank", RAW)
    assert tokenizer.decode([behind]) == tokenizer.decode([before]) == "you"  # what they were
    assert continuation_text(tokenizer, [behind], prompt) == " you"
    assert continuation_text(tokenizer, [before], prompt) == "you"
    assert continuation_text(tokenizer, [behind, 1], prompt) == " you"  # the end is no text


@pytest.mark.parametrize("text", [" you", "é", "感謝 日本", "\n\n  a", "<|endoftext|>b"])
def test_a_byte_level_continuation_is_the_tokens_own_text(text):
    tokenizer = tiny.tokenizer()
    ids, prompt = tokenizer(text)["input_ids"], tokenizer(PROMPT)["input_ids"]
    expected = tokenizer.decode(ids, skip_special_tokens=True)
    assert continuation_text(tokenizer, ids, prompt) == expected
    for n in range(len(ids)):  # also where a character is cut
        cut = tokenizer.decode(ids[:n], skip_special_tokens=True)
        assert continuation_text(tokenizer, ids[:n], prompt) == cut


# --- keys ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "framing", "is_known"),
    [
        ("tiny", RAW, True),
        ("tiny chat", CHAT, True),
        ("thinking", CHAT, True),
        ("thinking", Framing(format="chat", system="be brief"), False),
        ("thinking", Framing(format="chat", arguments=(("enable_thinking", False),)), False),
        ("dated", Framing(format="chat", date="2025-01-31"), False),
        ("dated", RAW, True),
        ("parts", CHAT, False),
        ("parts", RAW, True),
        ("closing", RAW, False),
        ("by words", RAW, False),
        ("dropping blanks", RAW, False),
    ],
)
def test_keys_hold_the_tokens_where_the_prompt_does_not_decide_them(name, framing, is_known):
    made = tiny.tokenizer(chat=True) if name == "tiny chat" else odd.TOKENIZERS[name]()
    assert digest(made, PROMPT, framing).keys() == (set() if is_known else {PROMPT})


def test_a_digest_is_that_of_the_tokens():
    tokenizer = odd.templated(odd.DATED)
    days = [Framing(format="chat", date=f"2025-01-{day}") for day in (30, 31)]
    yesterday, today = (digest(tokenizer, PROMPT, day) for day in days)
    assert yesterday != today
    assert today == digest(odd.templated(odd.DATED), PROMPT, days[1])
    yearly = odd.templated(odd.DATED.replace("%d %b ", ""))
    assert digest(yearly, PROMPT, days[0]) == digest(yearly, PROMPT, days[1])


# --- files ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("template", "sources"),
    [
        (None, []),
        (odd.DATED, [odd.DATED]),
        ({"default": odd.THINKING, "rag": odd.DATED}, [odd.THINKING, odd.DATED]),
    ],
)
def test_templates_are_found_in_a_folder(tmp_path, template, sources):
    odd.templated(template).save_pretrained(tmp_path)
    assert template_sources(tmp_path) == sources
    assert load_tokenizer(tmp_path).chat_template == template


def test_templates_in_the_tokenizers_settings_are_found(tmp_path):
    odd.templated({"default": odd.THINKING, "rag": odd.DATED}).save_pretrained(
        tmp_path, save_jinja_files=False
    )
    assert sorted(template_sources(tmp_path)) == sorted([odd.THINKING, odd.DATED])


def test_a_folder_without_a_tokenizer_is_refused_in_one_line(tmp_path):
    with pytest.raises(UserError, match="expected a tokenizer that transformers can load"):
        load_tokenizer(tmp_path)
