"""Cases written by hand: the mistakes one can think of, in every place they fit."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping

from tests.programs.fuzz.harness import EMOTION, NEUTRAL, PROFILE, SMALL, forms

#: kind, arguments, files to write first, exit code wanted (None: any that keeps the promises)
Case = tuple[str, list[str], Mapping[str, bytes], int | None]

NUMBERS = (
    "", " ", "--", "0", "-0", "1", "-1", "2", "3", "7", "1.5", "0.5", "nan", "-nan", "NaN", "inf", "-inf", "1e400",
    "-1e400", "1e-400", "1e308", "5e-324", "9" * 19, "9" * 400, "9" * 5000, "-" + "9" * 400, "1e9", "2**31",
    "0x10", "0b1", "1_000", "1__0", "１", "٣", "½", "1,5", "1.", ".5", "+1", "--1", "one", "None", "True",
    "\x00", "1\n", "\u200b1", "1e", "1e5", "2147483648", "9223372036854775807", "9223372036854775808",
)  # fmt: skip
NUMERIC = (
    "max-tokens", "temperature", "top-p", "seed", "samples", "random-heads", "n-prompts", "max-rows",
)  # fmt: skip
HEADS = (
    "", " ", "--", ",", "all", " all ", "ALL", "all,0:1", "0:1", "0:1,", ",0:1", "0:1,,1:2", "0:1;1:2", "*:*",
    "0:0-3", "0:3-0", "0:0-9", "0:-1", "-1:0", "3:0", "0:4", "0:1:2", "0", ":", "0:", ":0",
    "0 :1", "0: 1", "٠:١", "0:1\n", "\n0:1", "0:1\x00", "0:1,0:1,0:1", "0:1-", "0:-", "0:1-1", "00:01",
    "1000000:0", "9" * 400 + ":0", "0:" + "9" * 400, "0:1," * 5000 + "0:1", "０:１", "\ud800:1", "0:1#", "0:*",
    "*:0",
)  # fmt: skip
NAMES = (
    "", " ", "--", ".", "-", "~", "a_folder", "a_file", "a_file/below", "pipe", "pipe.pkl", "to_pipe", "a_folder.pkl",
    "pipe/below.pkl", "/proc/self/none.pkl", "/proc/none", "x" * 300, "x/" * 3000, "\x00", "a\x00.pkl",
    "\ud800.pkl", "\udcff.pkl", "é.pkl", "日本.pkl", "a\nb.pkl", "\x1b[31m.pkl", " .pkl", ".pkl", "..pkl",
    "model", "data", "data/neutral_prompts.json", "model/config.json", "./", "con.pkl", "*.pkl",
)  # fmt: skip
MARKERS = (
    "phase7-store 3 0000000000000000", "phase7-store 1", "", "\x00" * 40, "2", "phase7-store -1 x",
    "phase7-store 999999999999 x", "{}", "phase7-store 1 0000000000000000", "\xff\xfe", "phase7-store ² x",
)  # fmt: skip


def patch(dry: bool = True, **changes: str | None) -> list[str]:
    """Arguments of a `patch` that works, with some changed or (None) left out."""
    options = {
        "model": "model", "head_spec": "0:1", "neutral_prompts": "data/neutral_prompts.json",
        "emotion_prompts": "data/gratitude_prompts.json", "output": "out/x.pkl", "max_tokens": "1",
        "scorers": "vader,keywords", "max_rows": "16",
    } | changes  # fmt: skip
    flags = [
        f"--{name.replace('_', '-')}={value}" for name, value in options.items() if value is not None
    ]
    return ["patch", "--quiet", *(["--dry-run"] if dry else []), *flags]


def newer(version: int) -> str:
    """The marker of a store in a newer format."""
    import hashlib

    text = f"phase7-store {version}"
    return f"{text} {hashlib.sha256(text.encode()).hexdigest()[:16]}"


def prompts_of(*texts: object) -> bytes:
    return json.dumps({"prompts": list(texts)}).encode("utf-8", "surrogatepass")


PROMPTS: dict[str, tuple[bytes, int | None]] = {
    "right": (prompts_of(*EMOTION), 0),
    "nothing": (b"", 2),
    "null": (b"null", 2),
    "a plain list": (b'["a"]', 0),
    "no object": (b'"a"', 2),
    "a list of numbers": (b"[1, 2]", 2),
    "other key": (b'{"prompt": ["a"]}', 2),
    "two keys": (b'{"prompts": ["a"], "more": 1}', 2),
    "key twice": (b'{"prompts": ["a"], "prompts": ["b"]}', 2),
    "no list": (b'{"prompts": "a"}', 2),
    "empty list": (prompts_of(), 2),
    "a number": (prompts_of("a", 1), 2),
    "a list in it": (prompts_of(["a"]), 2),
    "blank": (prompts_of("  \n"), 2),
    "twice": (prompts_of("a", "a"), 2),
    "half a surrogate": (b'{"prompts": ["\\ud800"]}', 2),
    "a NUL": (prompts_of("a\x00b", "c"), 2),
    "escapes": (prompts_of("\x1b[31m", "\u202eabc"), 0),
    "NaN": (b'{"prompts": [NaN]}', 2),
    "deep": (b'{"prompts": ' + b"[" * 100_000, 2),
    "huge number": (b'{"prompts": [' + b"9" * 10_000 + b"]}", 2),
    "cut": (prompts_of(*EMOTION)[:-5], 2),
    "bad UTF-8": (b'{"prompts": ["\xff\xfe"]}', 2),
    "a pickle": (b"\x80\x04\x95\x00.", 2),
}


def cases() -> Iterator[Case]:
    """All of them."""
    for option in NUMERIC:
        for number in NUMBERS:
            name = option.replace("-", "_")
            yield "numbers", patch(**{name: number}), {}, None
    for number in NUMBERS:
        yield "numbers", ["store", "prune", "--older-than-days", number], {}, None
    for spec in HEADS:
        yield "heads", patch(head_spec=spec), {}, None
        text = PROFILE + SMALL.replace('"0:1"', json.dumps(spec))
        data = text.encode("utf-8", "surrogatepass")
        yield "heads", ["build", "p.toml", "--dry-run", "--quiet"], {"p.toml": data}, None
    for data, wanted in PROMPTS.values():
        for option in ("neutral_prompts", "emotion_prompts"):
            yield "prompts", patch(**{option: "p.json"}), {"p.json": data}, wanted
    for data in forms(json.dumps({"prompts": ["é", "日本"]}, ensure_ascii=False)):
        yield "encodings", patch(neutral_prompts="p.json"), {"p.json": data}, None
    for data in forms(PROFILE + "# é 日本\n" + SMALL):
        yield "encodings", ["build", "p.toml", "--dry-run", "--quiet"], {"p.toml": data}, None
    for name in NAMES:
        for option in (
            "model",
            "neutral_prompts",
            "emotion_prompts",
            "output",
            "store",
            "report",
            "scorers",
        ):
            yield "paths", patch(**{option: name}), {}, None
        for command in (
            ["build", name, "--dry-run"], ["report", name], ["models", "fetch", name],
            ["store", "verify", "--store", name], ["store", "prune", "--store", name, "--older-than-days", "9"],
            ["store", "entries", "--store", name], ["store", "size", "--store", name], ["models", "--store", name],
        ):  # fmt: skip
            yield "paths", command, {}, None
    for store in ("new", "new/below", "store"):
        yield "paths", ["build", "quickstart", "--dry-run", "--store", store], {}, 0  # fetches nothing
    yield from _real_runs()
    for text in (*MARKERS, newer(3), newer(10**8)):
        wanted = 2 if text in (newer(3), newer(10**8)) else None
        for command in (
            ["store"], ["store", "verify"], ["store", "entries"], ["store", "prune", "--older-than-days", "9"],
            patch(), ["build", "small", "--quiet"], patch(dry=False),
        ):  # fmt: skip
            yield "newer store", command, {"store/form.txt": text.encode("latin-1", "replace")}, wanted


def _real_runs() -> Iterator[Case]:
    """Mistakes that show only when the model runs or the outputs are written."""
    long = prompts_of("the kettle " * 200, *NEUTRAL)
    fits = prompts_of("kettle", *NEUTRAL)
    yield "over-long", patch(dry=False, neutral_prompts="p.json"), {"p.json": long}, 2
    yield "over-long", patch(dry=False, emotion_prompts="p.json"), {"p.json": long}, 2
    yield "over-long", patch(dry=False, max_tokens="96"), {}, 2
    yield "over-long", patch(dry=False, neutral_prompts="p.json"), {"p.json": fits}, 0
    for option in ("neutral_prompts", "emotion_prompts"):
        silent = patch(dry=False, model="deaf", **{option: "p.json"})
        yield "no tokens", silent, {"p.json": prompts_of("???", "a?")}, 2
        yield "no tokens", silent, {"p.json": prompts_of("b?", "a?")}, 0
    for name in NAMES:
        for option in ("output", "store", "report"):
            yield "unwritable", patch(dry=False, **{option: name}), {}, None
