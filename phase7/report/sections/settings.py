"""What was run: the settings of one (model, emotion)."""

from __future__ import annotations

from typing import Any

from phase7.report.chapter import Chapter
from phase7.report.escape import code, escape
from phase7.report.tables import Row

_KEYS = (
    "model", "target_heads", "patch_mode", "use_attn_result", "n_neutral_prompts",
    "n_emotion_prompts", "n_discovery_prompts", "n_confirmation_prompts", "max_new_tokens",
    "sweep_max_new_tokens", "temperature", "top_p", "samples", "seed", "emotion", "modes", "donor",
    "control", "positions", "prompt_format", "size", "model_source", "fingerprint", "device",
    "alpha",
)  # fmt: skip
_NAMES = frozenset({"target_heads", "patch_mode", "donor", "control", "positions", "prompt_format"})
_ONLY_WITH_SWEEP = frozenset({"n_discovery_prompts", "sweep_max_new_tokens"})


def render(chapter: Chapter) -> list[str]:
    """The table of settings."""
    say, settings = chapter.say, chapter.group.settings
    rows = []
    for key in _KEYS:
        if key in _ONLY_WITH_SWEEP and not chapter.group.sweep:
            continue
        if key == "sweep_max_new_tokens" and chapter.group.is_sweep_read:
            continue
        name = say(f"set.{key}")
        rows.append(Row(name=name, cells=(name, _value(chapter, key, settings))))
    return [chapter.table("settings", say("c.settings"), (say("item"), say("value")), rows, n_left=2)]


def _value(chapter: Chapter, key: str, settings: dict[str, Any]) -> str:
    say = chapter.say
    if key == "size":
        return f"{settings.get('n_layers')} × {settings.get('n_heads')}"
    if key == "modes":
        return say.listed([code(mode) for mode in chapter.group.modes]) or say("none")
    if key == "device":
        return f"{code(str(settings.get('device')))} / {code(str(settings.get('dtype')))}"
    value = settings.get(key)
    if value is None:
        return say("none")
    if isinstance(value, bool):
        return "True" if value else "False"
    if key == "fingerprint":
        return code(str(value)[:16])
    return code(str(value)) if key in _NAMES else escape(str(value))
