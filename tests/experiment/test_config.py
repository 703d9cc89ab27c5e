"""Profiles: those in the repository load, and every mistake is named with its place in one line."""

from __future__ import annotations

import json
import tomllib
from dataclasses import FrozenInstanceError, fields
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from phase7.experiment.profile import Confirm, Engine, Profile, Sampling, Sweep, load_profile
from phase7.experiment.statistics import Statistics
from phase7.models.registry import REGISTRY
from phase7.scoring.choose import NAMES
from phase7.vocabulary.errors import UserError
from phase7.vocabulary.modes import MODES

ROOT = Path(__file__).parents[2]
PROFILES = sorted(path.stem for path in (ROOT / "data" / "profiles").glob("*.toml"))
MINIMAL = 'models = ["gpt2"]\nemotions = ["anger"]\n'
LAW = settings(deadline=None, derandomize=True)


@pytest.fixture
def load(tmp_path):
    """Load a profile of this text; the file's path stands in every message."""

    def load(text: str | bytes) -> Profile:
        path = tmp_path / "mine.toml"
        path.write_bytes(text if isinstance(text, bytes) else text.encode("utf-8"))
        return load_profile(str(path), ROOT)

    return load


@pytest.fixture
def refusal(load, tmp_path):
    """The text of the refusal of a profile: one line that starts with the file's path."""

    def refusal(text: str | bytes) -> str:
        with pytest.raises(UserError) as caught:
            load(text)
        message = str(caught.value)
        assert len(message.splitlines()) == 1
        assert message.startswith(f"{tmp_path / 'mine.toml'}: ")
        return message.removeprefix(f"{tmp_path / 'mine.toml'}: ")

    return refusal


def test_the_two_profiles_of_the_readme_are_there():
    assert {"quickstart", "baseline"} <= set(PROFILES)


@pytest.mark.parametrize("name", PROFILES)
def test_a_profile_of_the_repository_loads_and_says_what_its_file_says(name):
    profile = load_profile(name, ROOT)
    table = tomllib.loads((ROOT / "data" / "profiles" / f"{name}.toml").read_text(encoding="utf-8"))
    assert profile.name == name
    seen = json.loads(json.dumps(profile.as_dict()))
    if isinstance(table["patching"]["control"], list):
        control, *table["patching"]["against"] = table["patching"]["control"]
        table["patching"]["control"] = control
    for key, value in table.items():
        if isinstance(value, dict):
            assert {k: seen[key][k] for k in value} == value
        else:
            assert seen[key] == value
    assert set(profile.models) <= set(REGISTRY)
    assert profile.patching.primary_mode in profile.confirm.modes


@pytest.mark.parametrize("name", PROFILES)
def test_a_profile_of_the_repository_names_scorers_that_exist(name):
    assert set(load_profile(name, ROOT).scorers) <= set(NAMES)


def test_the_default_scorers_exist():
    assert set(Profile(name="x", models=("a",), emotions=("b",)).scorers) <= set(NAMES)


def test_a_minimal_profile_takes_its_name_from_the_file_and_the_rest_from_the_defaults(load):
    profile = load(MINIMAL)
    assert profile == Profile(name="mine", models=("gpt2",), emotions=("anger",))
    assert profile.sweep is None
    assert load(MINIMAL + "[sweep]\n").sweep == Sweep()
    assert load('name = "other"\n' + MINIMAL).name == "other"


def test_a_whole_number_is_taken_for_a_float_and_kept_as_one(load):
    temperature = load(MINIMAL + "[sampling]\ntemperature = 1\n").sampling.temperature
    assert isinstance(temperature, float)
    assert temperature == 1.0


def test_records_are_frozen():
    with pytest.raises(FrozenInstanceError):
        Sampling().seed = 3  # type: ignore[misc]


@pytest.mark.parametrize(
    ("text", "key", "known"),
    [
        (MINIMAL + "model = 1\n", "'model'", "models"),
        (MINIMAL + "[sampling]\ntop_k = 5\n", "'top_k'", "top_p"),
        (MINIMAL + "[sweeps]\n", "'sweeps'", "sweep"),
        (MINIMAL + "[confirm]\nhead = '3:5'\n", "'head'", "target_heads"),
        (MINIMAL + "[engine]\nDevice = 'cpu'\n", "'Device'", "device"),
    ],
)
def test_an_unknown_key_is_named_beside_the_known_ones(refusal, text, key, known):
    message = refusal(text)
    assert f"got {key}; " in message and message.endswith("remove or rename the key")
    assert known in message.partition(", got ")[0]


@pytest.mark.parametrize(
    "section", ["sampling", "patching", "sweep", "confirm", "statistics", "engine", "prompts"]
)
def test_an_unknown_key_is_named_with_its_section(refusal, section):
    assert refusal(MINIMAL + f"[{section}]\nnonsense = 1\n").startswith(f"{section}: expected one of")


@pytest.mark.parametrize(
    ("text", "missing"), [('emotions = ["anger"]', "models"), ('models = ["gpt2"]', "emotions")]
)
def test_a_missing_key_is_named(refusal, text, missing):
    assert refusal(text) == f"expected the key '{missing}', got no such key; add it"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('models = "gpt2"\nemotions = ["anger"]', "models: expected a list, got 'gpt2'"),
        ('models = [1]\nemotions = ["anger"]', "models: expected a value of type str, got 1"),
        ('models = []\nemotions = ["anger"]', "models, emotions: expected at least one of each"),
        (MINIMAL + "sampling = 3", "sampling: expected a table, got 3"),
        (MINIMAL + "sweep = true", "sweep: expected a table, got True"),
        (MINIMAL + "[sampling]\nseed = '7'", "sampling: seed: expected a value of type int, got '7'"),
        (MINIMAL + "[sampling]\nseed = 7.0", "sampling: seed: expected a value of type int, got 7.0"),
        (MINIMAL + "[sampling]\nseed = true", "sampling: seed: expected a value of type int, got True"),
        (MINIMAL + "[sampling]\ntop_p = true", "sampling: top_p: expected a value of type float, got True"),
        (MINIMAL + "[sampling]\ntop_p = '1'", "sampling: top_p: expected a value of type float, got '1'"),
        (MINIMAL + "[patching]\nuse_attn_result = 1", "use_attn_result: expected a value of type bool"),
        (MINIMAL + "[patching]\ndonor = 'median'", "donor: expected one of mean, paired, self, neutral, zero"),
        (MINIMAL + "[patching]\ndonor = 3", "donor: expected one of mean, paired, self, neutral, zero, got 3"),
        (MINIMAL + "[patching]\npositions = 'first'", "positions: expected one of generated, last, all"),
        (MINIMAL + "[patching]\ncontrol = 'zero'", "control: expected one of neutral,"),
        (MINIMAL + "[prompts]\nformat = 'Chat'", "format: expected one of auto, raw, chat, got 'Chat'"),
        (MINIMAL + "[engine]\ndtype = 'float16'", "dtype: expected one of float32, bfloat16"),
        (MINIMAL + "[confirm]\nmodes = ['all']", "modes: expected one of result, v_only, pattern_v"),
        (MINIMAL + "[confirm]\nlengths = [1.5]", "lengths: expected a value of type int, got 1.5"),
    ],
)  # fmt: skip
def test_a_value_of_another_type_is_named_with_its_place(refusal, text, message):
    assert message in refusal(text)


@pytest.mark.parametrize(
    ("section", "line"),
    [
        ("sampling", "temperature = nan"),
        ("sampling", "temperature = inf"),
        ("sampling", "temperature = -inf"),
        ("sampling", "temperature = -0.1"),
        ("sampling", "temperature = 1e300"),
        ("sampling", "top_p = nan"),
        ("sampling", "top_p = 0.0"),
        ("sampling", "top_p = 1.0000001"),
        ("sampling", "top_p = -0.5"),
        ("sampling", "max_new_tokens = 0"),
        ("sampling", "max_new_tokens = -3"),
        ("sampling", "samples = 0"),
        ("sampling", "seed = -1"),
        ("sampling", "seed = 9223372036854775808"),
        ("sampling", f"seed = {10**400}"),
        ("sampling", f"temperature = {10**400}"),
        ("sweep", "n_prompts = -1"),
        ("sweep", "max_new_tokens = -1"),
        ("sweep", "modes = []"),
        ("sweep", "modes = ['result', 'result']"),
        ("confirm", "strongest = -1"),
        ("confirm", "random_heads = -1"),
        ("confirm", "random_sets = -1"),
        ("confirm", "random_sets = 1001"),
        ("confirm", "strongest_sets = [3, 1]"),
        ("confirm", "strongest_sets = [1]"),
        ("confirm", "strongest_sets = [10, 0]"),
        ("confirm", "random_sets = -1"),
        ("confirm", "n_prompts = -2"),
        ("confirm", "lengths = [5, 0]"),
        ("confirm", "modes = []"),
        ("statistics", "alpha = nan"),
        ("statistics", "alpha = 0"),
        ("statistics", "alpha = 0.6"),
        ("statistics", "resamples = 99"),
        ("statistics", "selection_metrics = ['joy']"),
        ("engine", "max_rows = 3"),
        ("engine", "max_rows = -1"),
    ],
    ids=lambda text: text[:40],
)
def test_a_value_out_of_range_is_named_with_its_place(refusal, section, line):
    key = line.partition(" ")[0]
    assert refusal(MINIMAL + f"[{section}]\n{line}\n").startswith(f"{section}: {key}: expected ")


#: A search by read-outs of gratitude, which each of the refusals below spoils in one place.
SEARCH = """
[sweep]
text = false
readouts = "attribution"
[readouts]
emotions = ["anger", "joy"]
[confirm]
strongest_sets = [2, 4]
random_sets = 1
positive_controls = false
[statistics]
selection_metrics = ["logodds_{emotion}", "logodds_{emotion}_first"]
"""


def test_a_search_by_readouts_is_taken_as_it_is_written(load):
    profile = load(MINIMAL + SEARCH)
    assert profile.sweep == Sweep(text=False, readouts="attribution")
    assert profile.confirm.strongest_sets == (2, 4) and profile.confirm.random_sets == 1
    assert not profile.confirm.positive_controls
    chosen = profile.statistics
    assert chosen.selection_of("anger") == ("logodds_anger", "logodds_anger_first")
    assert chosen.selection_of("joy") == ("logodds_joy", "logodds_joy_first")


def test_searches_are_by_exact_texts_unless_the_profile_says_so(load):
    profile = load(MINIMAL + "[sweep]\n")
    assert profile.sweep.text and profile.sweep.readouts == "exact"
    assert profile.confirm.strongest_sets == () and profile.confirm.random_sets == 0
    assert profile.confirm.positive_controls


NO_TEXT = "selection_metrics: expected read-outs, as the sweep has no text, got "


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        (
            'selection_metrics = ["logodds_{emotion}", "logodds_{emotion}_first"]', "",
            NO_TEXT + "'none, which means metrics of text'",
        ),
        ("_{emotion}_first", "_joy\", \"politeness", NO_TEXT + "'logodds_anger, logodds_joy, politeness'"),
        ("logodds_{emotion}_first", "kl_path", "expected read-outs with a direction, to be attributed"),
        (
            '"anger", "joy"', '"joy"',
            "selection_metrics: expected read-outs that [readouts] declares, got 'logodds_anger'",
        ),
        (
            "[sweep]\ntext = false\nreadouts = \"attribution\"", "",
            "strongest_sets: expected a [sweep] that orders the heads, got 'no [sweep]'",
        ),
        ('"logodds_{emotion}"', '"{emotion}"', "expected read-outs that [readouts] declares, got 'anger'"),
        ('"attribution"', '"gradient"', "sweep: readouts: expected one of exact, attribution"),
        ("text = false", "text = 0", "sweep: text: expected a value of type bool, got 0"),
        (
            "[readouts]", "[patching]\ndonor = 'zero'\n[readouts]",
            "sweep.readouts: expected a donor made of prompts, got 'zero'",
        ),
        (
            "[readouts]", "[patching]\ndonor = 'self'\n[readouts]",
            "sweep.readouts: expected a donor made of prompts, got 'self'",
        ),
    ],
)  # fmt: skip
def test_a_search_that_could_not_order_the_heads_is_refused(refusal, before, after, message):
    assert before in SEARCH
    assert message in refusal(MINIMAL + SEARCH.replace(before, after))


def test_nothing_is_attributed_without_token_sets(refusal):
    message = refusal(MINIMAL + "[sweep]\nreadouts = 'attribution'\n")
    assert "sweep.readouts: expected [readouts] that declares some, got 'none'" in message


@pytest.mark.parametrize(
    ("readouts", "message"),
    [
        ("pairs = [{target = ' a', foil = ' a'}]", "pairs: expected a target and another foil, none empty"),
        ("pairs = [{target = '', foil = ' a'}]", "pairs: expected a target and another foil, none empty"),
        ("pairs = [{target = '?', foil = '!'}]", "pairs: expected a name of letters, digits and _"),
        ("pairs = [{target = 'a', foil = 'b', name = 'a b'}]", "pairs: expected a name of letters"),
        ("pairs = [{target = ' a'}]", "readouts: pairs: expected the key 'foil'"),
        (
            "pairs = [{target = ' a', foil = ' b'}, {target = 'a', foil = 'b'}]",
            "readouts: pairs: expected pairs that differ by name, got ['a_b', 'a_b']",
        ),
        ("continuations = 2", "readouts.continuations: expected a [sweep], whose prompts are continued"),
        ("continuations = -1", "continuations: expected a number from 0"),
    ],
)  # fmt: skip
def test_contrasts_that_say_nothing_are_refused(refusal, readouts, message):
    assert message in refusal(MINIMAL + f"[readouts]\n{readouts}\n")


def test_contrasts_are_metrics_to_choose_heads_by(load):
    ours = "[readouts]\ncontinuations = 2\npairs = [{target = ' Thank you!', foil = ' No'}]\n"
    wanted = "[statistics]\nselection_metrics = ['loglik_{emotion}_first', 'logdiff_thank_you_no']\n"
    profile = load(MINIMAL + ours + wanted + "[sweep]\nreadouts = 'attribution'\n")
    assert profile.readouts.metrics("anger") == (
        "loglik_anger", "loglik_anger_first", "logdiff_thank_you_no", "logdiff_thank_you_no_first",
    )  # fmt: skip


def test_what_is_refused_of_an_attribution_is_taken_where_all_is_patched(load):
    """Divergences rank and zeros are donors where read-outs are exact."""
    exact = SEARCH.replace('"attribution"', '"exact"').replace("logodds_{emotion}_first", "kl_path")
    profile = load(MINIMAL + exact + "[patching]\ndonor = 'zero'\n")
    assert profile.statistics.selection_of("anger") == ("logodds_anger", "kl_path")


@pytest.mark.parametrize(
    "record",
    [
        {"temperature": 0.0}, {"temperature": 100.0}, {"top_p": 1.0}, {"top_p": 1e-9}, {"seed": 0},
        {"seed": 2**63 - 1}, {"max_new_tokens": 1}, {"samples": 1},
    ],
)  # fmt: skip
def test_the_ends_of_the_ranges_are_taken(record):
    ((name, value),) = record.items()
    assert getattr(Sampling(**record), name) == value


def test_numbers_out_of_range_are_refused_in_records_made_by_hand():
    for make in (
        lambda: Sampling(temperature=float("nan")),
        lambda: Sampling(top_p=float("inf")),
        lambda: Statistics(alpha=-0.1),
        lambda: Engine(max_rows=2),
        lambda: Confirm(lengths=(0,)),
        lambda: Sweep(modes=("result", "other")),  # type: ignore[arg-type]
    ):
        with pytest.raises(UserError, match=r"expected .*, got .*; correct the value"):
            make()


#: Heads in the order of their attributed read-outs, without text.
BY_ATTRIBUTION = f"""{MINIMAL}
[patching]
donor = "mean"
[sweep]
text = false
readouts = "attribution"
[readouts]
emotions = ["anger"]
[statistics]
selection_metrics = ["logodds_{{emotion}}", "logodds_anger_first"]
"""


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('["logodds_{emotion}", "logodds_anger_first"]', "[]", "selection_metrics: expected read-outs, as"),
        ('"logodds_anger_first"', '"politeness"', "selection_metrics: expected read-outs, as the sweep has"),
        ('"logodds_anger_first"', '"kl_path"', "selection_metrics: expected read-outs with a direction"),
        ('"logodds_anger_first"', '"logodds_joy"', "selection_metrics: expected read-outs that [readouts]"),
        ('"logodds_{emotion}"', '"{emotion}"', "selection_metrics: expected read-outs that [readouts]"),
        ('"mean"', '"zero"', "sweep.readouts: expected a donor made of prompts"),
        ('"mean"', '"self"', "sweep.readouts: expected a donor made of prompts"),
        ("false", "true", None),
        ('"attribution"', '"exact"', None),
        ('"mean"', '"paired"', None),
    ],
)  # fmt: skip
def test_a_search_by_attribution_is_refused_or_taken(load, refusal, old, new, message):
    assert load(BY_ATTRIBUTION).statistics.selection_of("joy")[0] == "logodds_joy"
    assert BY_ATTRIBUTION.count(old) == 1
    text = BY_ATTRIBUTION.replace(old, new)
    if message is None:
        load(text)
    else:
        assert message in refusal(text)


def test_attribution_and_sets_of_a_sweeps_heads_need_what_they_are_of(refusal):
    text = MINIMAL + '[sweep]\nreadouts = "attribution"\n'
    assert "sweep.readouts: expected [readouts] that declares some, got 'none'" in refusal(text)
    text = MINIMAL + "[confirm]\nstrongest_sets = [2]\n"
    assert "strongest_sets: expected a [sweep] that orders the heads" in refusal(text)


@pytest.mark.parametrize("name", ["", "a/b", "..", ".hidden", "a\\b"])
def test_a_name_that_is_no_file_name_is_refused(refusal, name):
    text = f"name = {json.dumps(name)}\n{MINIMAL}"
    assert refusal(text).startswith("name: expected a name that can be a file's, got")


@pytest.mark.parametrize(
    "content",
    ["models = [", b"models = ['\xff']", "a = 1\na = 2", "\x00", "models: [gpt2]", "x = " + "[" * 50_000],
    ids=["open list", "not UTF-8", "key twice", "null byte", "YAML", "deep"],
)  # fmt: skip
def test_what_is_no_toml_is_refused(refusal, content):
    assert refusal(content).startswith("expected TOML in UTF-8, got ")


def test_a_profile_that_is_not_there_is_refused_with_those_that_are(tmp_path):
    folder = tmp_path / "data" / "profiles"
    folder.mkdir(parents=True)
    for name in ("b", "a"):
        (folder / f"{name}.toml").write_text(MINIMAL, encoding="utf-8")
    with pytest.raises(UserError) as caught:
        load_profile("c", tmp_path)
    assert "expected a readable profile (in data/profiles: a, answer, b, baseline, quickstart)" in str(
        caught.value
    )
    assert str(folder / "c.toml") in str(caught.value)
    with pytest.raises(UserError, match="Is a directory"):
        (tmp_path / "folder.toml").mkdir()
        load_profile(str(tmp_path / "folder.toml"), tmp_path)


def test_as_dict_holds_every_setting_as_json(load):
    profile = load(MINIMAL + "[sweep]\n")
    whole = json.loads(json.dumps(profile.as_dict()))
    assert set(whole) == {f.name for f in fields(Profile)}
    assert whole["sweep"]["modes"] == ["result"]
    assert whole["confirm"]["modes"] == list(MODES)


@LAW
@given(
    temperature=st.floats(0, 100),
    top_p=st.floats(1e-6, 1),
    seed=st.integers(0, 2**63 - 1),
    samples=st.integers(1, 10_000),
)
def test_any_sampling_in_range_is_read_back_from_toml(
    tmp_path_factory, temperature, top_p, seed, samples
):
    path = tmp_path_factory.mktemp("profile") / "p.toml"
    path.write_text(
        f"{MINIMAL}[sampling]\ntemperature = {temperature!r}\ntop_p = {top_p!r}\nseed = {seed}\n"
        f"samples = {samples}\n",
        encoding="utf-8",
    )
    expected = Sampling(temperature=temperature, top_p=top_p, seed=seed, samples=samples)
    assert load_profile(str(path), ROOT).sampling == expected
