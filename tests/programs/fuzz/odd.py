"""Cases about other people's models, templates, tokenizers and scorers, and texts as files hold them."""

from __future__ import annotations

import json
from functools import cache
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from hypothesis import strategies as st
from safetensors.torch import save

from tests import odd_tokenizers, tiny
from tests.programs.fuzz.harness import PROFILE, SMALL
from tests.programs.fuzz.oracles import refuses_no_numbers
from tests.programs.fuzz.strategies import anything, mutated
from tests.programs.fuzz.tables import Case, patch, prompts_of

#: One real run in so many: loading a model takes a hundred times as long as planning.
RARE = 20

MESSAGE = "message['content']"
PARTS = "{% for part in message['content'] %}{% if part['type'] == 'text' %}{{ part['text'] }}{% endif %}{% endfor %}"
#: How templates write a message; the marked ones do not write it as it is.
CONTENTS = {
    "plain": f"{{{{ {MESSAGE} }}}}", "parts": PARTS, "trimmed": f"{{{{ {MESSAGE} | trim }}}}",
    "first part": "{{ message['content'][0]['text'] }}", "added": f"{{{{ 'Q: ' + {MESSAGE} + '?' }}}}",
    "either": f"{{% if {MESSAGE} is string %}}{{{{ {MESSAGE} }}}}{{% else %}}{PARTS}{{% endif %}}",
    "changed: upper": f"{{{{ {MESSAGE} | upper }}}}", "changed: length": f"{{{{ {MESSAGE} | length }}}}",
    "changed: lost": "", "changed: dict": "{{ message }}", "changed: cut": f"{{{{ {MESSAGE}[:3] }}}}",
    "changed: random": f"{{{{ ['a', {MESSAGE}] | random }}}}",
}  # fmt: skip
HARMLESS_BEFORE = (
    "", "Today is {{ strftime_now('%d %b %Y') }}.\n", "{{ strftime_now('%H:%M') }} ", "é 感謝 ",
    "{% macro day() %}{{ strftime_now('%Y-%m-%d') }}{% endmacro %}{{ day() }} ",
)  # fmt: skip
BEFORE = (
    *HARMLESS_BEFORE, "{{ bos_token }}",
    "{% if messages[0]['role'] == 'system' %}{{ raise_exception('no system') }}{% endif %}",
    "{% if enable_thinking is defined %}<{{ enable_thinking }}>{% endif %}", "{% set ns = namespace(x=1) %}",
    "{{ raise_exception('always') }}", "{{ nothing.at.all }}", "{{ 1 / 0 }}", "{% for %}", "{{ messages[9].x }}",
    "\x00", "{%- break %}",
    "{{ lipsum() }}", "{% include 'x' %}", "{{ ''.__class__ }}", "{{ cycler('a', 'b').next() }}", "{{ eos_token }}",
)  # fmt: skip
AFTER = ("", "\n", "{{ eos_token }}", "{% if add_generation_prompt %}[assistant]{% endif %}", "<end>")


@st.composite
def templates(draw: st.DrawFn, before: tuple[str, ...] = BEFORE) -> tuple[str, str]:
    """A chat template and how it writes a message."""
    content = draw(st.sampled_from(sorted(CONTENTS)))
    role = draw(st.sampled_from(("", "[{{ message['role'] }}] ", "{{ message.role | upper }}: ")))
    between = draw(st.sampled_from(("", "\n", "{{ eos_token }}")))
    source = (
        "".join(draw(st.lists(st.sampled_from(before), max_size=2)))
        + f"{{% for message in messages %}}{role}{CONTENTS[content]}{between}{{% endfor %}}"
        + draw(st.sampled_from(AFTER))
    )
    if draw(st.integers(0, 9)) == 0:
        source = draw(mutated(source.encode())).decode("utf-8", "replace")
        content = "changed: anyhow"
    return source, content


options = st.fixed_dictionaries(
    {},
    optional={
        "system": st.one_of(st.sampled_from(["be brief", " ", "\n", "感謝"]), anything),
        "date": st.one_of(st.dates().map(str), st.sampled_from(["today", "2025-02-30", ""]), anything),
        "template_argument": st.one_of(
            st.sampled_from(["enable_thinking=false", "enable_thinking=1", "tokenize=x", "x=1", "="]),
            anything,
        ),
        "prompt_format": st.sampled_from(["auto", "raw", "chat"]),
    },
)


def _run(draw: st.DrawFn, **changes: str | None) -> list[str]:
    """Mostly a plan; now and then a real run whose texts can be compared."""
    real = draw(st.integers(0, RARE - 1)) == 0
    return patch(dry=not real, temperature="0", model="odd", **changes)


@st.composite
def template_cases(draw: st.DrawFn) -> Case:
    if draw(st.booleans()):  # what has to work
        source, content = draw(templates(HARMLESS_BEFORE))
        day = draw(st.dates().map(str))
        is_right = not content.startswith("changed")
        files = {"odd/chat_template.jinja": source.encode()}
        argv = _run(draw, date=day)
        if is_right:
            return "templates, faithful", argv, files, 0
        return "templates", argv, files, None
    source, content = draw(templates())
    kind = "templates" if content.startswith("changed") else "templates, faithful"
    given = draw(options)
    files = {"odd/chat_template.jinja": source.encode()}
    if draw(st.integers(0, 19)) == 0:  # several names
        names = draw(st.lists(st.sampled_from(["default", "rag", "tool_use"]), max_size=3, unique=True))
        chosen = [{"name": name, "template": source} for name in names]
        settings = json.loads(_odd("tiny")["odd/tokenizer_config.json"]) | {"chat_template": chosen}
        files = {"odd/tokenizer_config.json": json.dumps(settings).encode()}
    if draw(st.integers(0, 4)) == 0:
        files["p.json"] = prompts_of(*draw(st.lists(anything, min_size=1, max_size=3, unique=True)))
        given["neutral_prompts"] = "p.json"
    return kind, _run(draw, **given), files, None


@st.composite
def tokenizer_cases(draw: st.DrawFn) -> Case:
    name = draw(st.sampled_from(sorted(odd_tokenizers.TOKENIZERS)))
    files = dict(_odd(name))
    kind = "tokenizers"
    if draw(st.integers(0, 2)) == 0:
        kind, place = "tokenizers, damaged", draw(st.sampled_from(sorted(files)))
        files[place] = draw(mutated(files[place]))
    return kind, _run(draw, **draw(options)), files, None


@cache
def _odd(name: str) -> dict[str, bytes]:
    """A tokenizer's files."""
    with TemporaryDirectory(dir=Path.cwd().parent) as folder:  # the only place a case may write to
        odd_tokenizers.TOKENIZERS[name]().save_pretrained(folder)
        return {f"odd/{path.name}": path.read_bytes() for path in Path(folder).iterdir()}


# --- scorers -------------------------------------------------------------------------------------

#: What can be wrong with a scorer: a line of its class. The last ones are no mistakes.
DEFECTS = (
    "metrics = 'politeness'", "metrics = ('kindness',)", "metrics = ()", "metrics = None", "name = 3", "version = ''",
    "name = 'a\\nb'", "describe = 1", "def describe(self): raise ValueError", "def describe(self): return None",
    "def describe(self): return {'quality': {'r': {1, 2}}}", "def describe(self): return {'quality': 0.9}",
    "def score(self, texts): raise KeyError(texts[0])", "def score(self, texts): return 0.5",
    "def score(self, texts): return {}", "def score(self, texts): return {'politeness': 0.5}",
    "def score(self, texts): return {'politeness': [0.5] * (len(texts) - 1)}",
    "def score(self, texts): return {'politeness': [float('inf')] * len(texts)}",
    "def score(self, texts): return {'politeness': ['high'] * len(texts)}",
    "def score(self, texts): return {'politeness': [[1.0]] * len(texts)}",
    "def score(self, texts): return {'politeness': [1.0] * len(texts), 'goemotions_joy': [1.0] * len(texts)}",
    "def score(self, texts): return {'goemotions_joy': [1.0] * len(texts)}",
    "def score(self, texts): return 1 / 0", "def score(self): return {}", "__slots__ = ('metrics',)",
    "def __init__(self, needed): pass", "def __getattr__(self, name): raise RuntimeError(name)",
)  # fmt: skip
HARMLESS = (
    "extra = 1", "metrics = ['politeness']", "def describe(self): return {}",
    "def describe(self): return {'name': 'x', 'quality': {'r': 0.5, '\\x1b[31m': '|'}}",
)  # fmt: skip


@st.composite
def scorer_cases(draw: st.DrawFn) -> Case:
    """A scorer that counts letters, with or without something wrong."""
    wrong = draw(st.lists(st.sampled_from(DEFECTS), max_size=1))
    lines = [*wrong, *draw(st.lists(st.sampled_from(HARMLESS), max_size=1 - len(wrong)))]
    number = draw(st.integers(1, 9))
    body = "\n    ".join(lines or ["pass"])
    source = (
        "class Base:\n    name, metrics = 'letters', ('politeness',)\n"
        f"    def score(self, texts): return {{'politeness': [{number} * float(len(t)) for t in texts]}}\n"
        "    def describe(self): return {'name': self.name}\n"
        f"class Own(Base):\n    {body}\n"
    )
    version = sha256(source.encode()).hexdigest()[:12]  # scores are kept by it
    source = source.replace("class Base:", f"class Base:\n    version = '{version}'")
    module = f"own_{version}"
    argv = patch(dry=False, scorers=f"{module}:Own")
    harmless_getattr = any("__getattr__" in line or "__slots__" in line for line in lines)
    wanted = None if harmless_getattr else 2 if wrong else 0
    return "scorers", argv, {f"{module}.py": source.encode()}, wanted


# --- texts in files ------------------------------------------------------------------------------

characters = st.sampled_from(
    [*map(chr, range(0x20)), "\x7f", "\x85", "\u2028", "\ufeff", "\ufffe", "a", "b", "é", "感"]
)
MARKED = ("utf-8-sig", "utf-16", "utf-32")


def _readable(texts: list[str]) -> bool:
    return bool(texts) and all(text.strip() and "\0" not in text for text in texts)


@st.composite
def mark_cases(draw: st.DrawFn) -> Case:
    """Files that begin with a byte-order mark are read as what they say."""
    code = draw(st.sampled_from(MARKED))
    if draw(st.booleans()):
        texts = draw(st.lists(st.sampled_from(["é", "日本", "a", "\ufeffb"]), min_size=1, unique=True))
        text = json.dumps({"prompts": texts}, ensure_ascii=False)
        option = draw(st.sampled_from(["neutral_prompts", "emotion_prompts"]))
        return "byte-order marks", patch(**{option: "p.json"}), {"p.json": text.encode(code)}, 0
    argv = ["build", "p.toml", "--dry-run", "--quiet"]
    return "byte-order marks", argv, {"p.toml": (PROFILE + "# 日本\n" + SMALL).encode(code)}, 0


@st.composite
def control_cases(draw: st.DrawFn) -> Case:
    """Control characters are kept or, where files could not keep them, refused."""
    texts = draw(st.lists(st.text(characters, min_size=1, max_size=6), max_size=3, unique=True))
    option = draw(st.sampled_from(["neutral_prompts", "emotion_prompts"]))
    real = draw(st.integers(0, RARE - 1)) == 0
    argv = patch(dry=not real, temperature="0", **{option: "p.json"})
    wanted = (None if real else 0) if _readable(texts) else 2
    return "control characters", argv, {"p.json": prompts_of(*texts)}, wanted


# --- weights -------------------------------------------------------------------------------------


@cache
def _weights() -> dict[str, torch.Tensor]:
    state = tiny.hf_model("gpt2").state_dict()
    return {name: weight.clone() for name, weight in state.items() if name != "lm_head.weight"}


@st.composite
def weight_cases(draw: st.DrawFn) -> Case:
    """NaN or infinity somewhere in the weights; or nowhere."""
    weights = dict(_weights())
    value = draw(st.sampled_from([float("nan"), float("inf"), -float("inf"), 0.0]))
    name = draw(st.sampled_from(sorted(weights)))
    weights[name] = weights[name].clone()
    n = weights[name].numel()
    places = draw(st.lists(st.integers(0, n - 1), min_size=1, max_size=3))
    weights[name].view(-1)[places] = value
    data = save(weights, metadata={"format": "pt"})
    wanted = 0 if value == 0.0 else 2 if refuses_no_numbers() else None
    # Until loading refuses what is no number, such a model is planned only.
    argv = patch(dry=value != 0.0 and not refuses_no_numbers(), temperature="0", model="odd")
    kind = "weights" if value == 0.0 else "weights, no numbers"
    return kind, argv, {"odd/model.safetensors": data}, wanted
