"""Cases drawn by hypothesis: texts, numbers, files and command lines that nobody thought of."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import strategies as st

from tests.programs.fuzz.harness import PROFILE, SMALL
from tests.programs.fuzz.tables import HEADS, NAMES, NUMBERS, NUMERIC, Case, patch

#: Any text that, taken for a path, stays in the current folder.
anything = st.text(alphabet=st.characters(), max_size=30).filter(
    lambda text: not text.startswith(("/", "~")) and ".." not in text
)
pieces = st.lists(st.sampled_from([*"0123456789:,-*  \n", "all", "0:1", "2:3", "10"]), max_size=12)
head_specs = st.one_of(pieces.map("".join), st.sampled_from(HEADS), anything)
numbers = st.one_of(
    st.sampled_from(NUMBERS), st.integers().map(str), st.floats().map(str), anything,
    st.floats(0, 1.2).map(str), st.integers(0, 40).map(str),
)  # fmt: skip
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | anything,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(anything, inner, max_size=3),
    max_leaves=8,
)
prompt_values = st.one_of(
    json_values,
    st.fixed_dictionaries({"prompts": st.one_of(json_values, st.lists(anything, max_size=5))}),
)
encodings = st.sampled_from(
    ["utf-8", "utf-8", "utf-8", "utf-8-sig", "utf-16", "latin-1", "cp932", "utf-32"]
)


@st.composite
def mutated(draw: st.DrawFn, data: bytes) -> bytes:
    """A few bytes changed, cut or doubled."""
    changed = bytearray(data)
    for _ in range(draw(st.integers(1, 4))):
        place = draw(st.integers(0, max(0, len(changed) - 1)))
        what = draw(st.integers(0, 3))
        if what == 0:
            changed[place : place + 1] = bytes([draw(st.integers(0, 255))])
        elif what == 1:
            del changed[place : place + draw(st.integers(1, 20))]
        elif what == 2:
            changed[place:place] = changed[place : place + draw(st.integers(1, 20))]
        else:
            changed[place:place] = draw(st.binary(max_size=6))
    return bytes(changed)


SECTIONS: dict[str, tuple[str, ...]] = {
    "": ("models", "emotions", "scorers", "name", "mdels"),
    "sampling": ("max_new_tokens", "temperature", "top_p", "samples", "seed"),
    "patching": ("donor", "control", "positions", "primary_mode", "use_attn_result"),
    "sweep": ("heads", "modes", "n_prompts", "max_new_tokens"),
    "confirm": (
        "target_heads",
        "head_sets",
        "strongest",
        "random_heads",
        "modes",
        "n_prompts",
        "lengths",
    ),
    "statistics": ("alpha", "resamples", "selection_metrics"),
    "prompts": ("neutral", "emotion", "format"),
    "engine": ("device", "dtype", "max_rows"),
    "unknown": ("key",),
}
words = st.sampled_from([
    "model", "gratitude", "vader", "keywords", "mean", "paired", "self", "neutral", "zero", "shuffled", "none",
    "generated", "last", "all", "result", "v_only", "pattern_v", "0:1", "0:*", "auto", "raw", "chat", "cpu",
    "float32", "politeness", "data/neutral_prompts.json", "data/{emotion}_prompts.json", "{emotion}", "{x}", "",
])  # fmt: skip
scalars = st.one_of(words, st.integers(-3, 50), st.integers(), st.floats(), st.booleans(), anything)
toml_values = st.one_of(scalars, st.lists(scalars, max_size=3))


def toml(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return "[" + ", ".join(map(toml, value)) + "]"
    if isinstance(value, str):
        return json.dumps(value).replace("\x7f", "\\u007f")
    return str(value)


@st.composite
def profiles(draw: st.DrawFn) -> bytes:
    """A profile with keys left out, added and changed."""
    tables: dict[str, dict[str, str]] = {
        "": {"models": '["model"]', "emotions": '["gratitude"]', "scorers": '["vader", "keywords"]'},
        "sampling": {"max_new_tokens": "1"},
        "confirm": {"target_heads": '"0:1"', "modes": '["result"]', "lengths": "[]"},
        "engine": {"max_rows": "16"},
    }
    for _ in range(draw(st.integers(1, 3))):
        section = draw(st.sampled_from(sorted(SECTIONS)))
        tables.setdefault(section, {})[draw(st.sampled_from(SECTIONS[section]))] = toml(
            draw(toml_values)
        )
    lines = [f"{key} = {value}" for key, value in tables.pop("").items()]
    for section, table in tables.items():
        lines += [f"[{section}]", *(f"{key} = {value}" for key, value in table.items())]
    return "\n".join(lines).encode(draw(encodings), "replace")


@st.composite
def head_cases(draw: st.DrawFn) -> Case:
    return "heads", patch(head_spec=draw(head_specs)), {}, None


@st.composite
def number_cases(draw: st.DrawFn) -> Case:
    names = draw(st.lists(st.sampled_from(NUMERIC), min_size=1, max_size=3, unique=True))
    return "numbers", patch(**{n.replace("-", "_"): draw(numbers) for n in names}), {}, None


@st.composite
def prompt_cases(draw: st.DrawFn) -> Case:
    option = draw(st.sampled_from(["neutral_prompts", "emotion_prompts"]))
    data = json.dumps(draw(prompt_values), ensure_ascii=draw(st.booleans())).encode(
        draw(encodings), "replace"
    )
    if draw(st.booleans()):
        data = draw(mutated(data))
    return "prompts", patch(**{option: "p.json"}), {"p.json": data}, None


@st.composite
def profile_cases(draw: st.DrawFn) -> Case:
    data = draw(st.one_of(profiles(), mutated((PROFILE + SMALL).encode())))
    return "profiles", ["build", "p.toml", "--dry-run", "--quiet"], {"p.toml": data}, None


@st.composite
def path_cases(draw: st.DrawFn) -> Case:
    name = draw(st.one_of(st.sampled_from(NAMES), anything, anything.map(lambda t: f"{t}.pkl")))
    option = draw(st.sampled_from(
        ["model", "neutral_prompts", "emotion_prompts", "output", "store", "report", "scorers", "device"]
    ))  # fmt: skip
    return "paths", patch(**{option: name}), {}, None


@st.composite
def effects_cases(draw: st.DrawFn, data: bytes) -> Case:
    """The report of an effects file with changed bytes: its seal must show it."""
    broken = draw(mutated(data))
    return "effects", ["report", "broken.nc"], {"broken.nc": broken}, 2 if broken != data else None


@st.composite
def command_cases(draw: st.DrawFn) -> Case:
    known = st.sampled_from([
        "build", "patch", "report", "models", "store", "list", "fetch", "size", "entries", "verify", "small",
        "--dry-run", "--quiet", "--verbose", "--lang", "en", "ja", "--stage", "capture", "--store", "a_folder",
        "--help", "--version", "--", "-", "--format", "html", "--model", "--head-spec", "0:1", "@a_file",
    ])  # fmt: skip
    argv = draw(st.lists(st.one_of(known, anything, numbers), max_size=7))
    heavy = "build" in argv[:1] and "--dry-run" not in argv
    return "command lines", [*argv, "--dry-run"] if heavy else argv, {}, None
