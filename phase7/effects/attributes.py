"""CF-style attributes of the effects store: what every variable and coordinate is, and in what unit.

:func:`label` writes `long_name`, `units` and `comment` on everything a Dataset holds, so that plain
``.plot()`` labels itself, and names the donors that really ran. Units follow CF: ``"1"`` for whatever
has no dimension (shares, probabilities, counts, names).
"""

from __future__ import annotations

import xarray as xr

from phase7.vocabulary.donors import donor_words

_SCORE = (
    "unit of the metric: a probability or share in [0, 1], a count of words for *_keywords, nats for"
    " mean_ln_p and where measured_on is logits"
)
_NAN = "NaN: not tested or not measured, never 0"
_FAMILY = (
    "in the primary family (is_primary) Benjamini-Hochberg; all other tests of the stage that can"
    " reject, text, read-outs and guards apart, in two steps: which cells have any effect, then which"
    " tests within these (Benjamini & Bogomolov 2014). Controls the false discovery rate of the family,"
    " or of the cells and, on average, within a selected one. NaN: not tested, or"
    " so few differences other than 0 (n_nonzero) that no signs could bring p below the level"
)
_FLIPS = (
    "two-sided sign-flip permutation test over prompts, of the two arms being exchangeable; all flips"
    f" for up to 20 differences that are not 0; controls nothing for many tests; {_NAN}"
)
_INTERVAL = f"all values that the sign-flip test does not reject, each by itself; {_SCORE}"
_COUNT = "only these count in the sign-flip test; its p is at least 2 / 2**n_nonzero"
_TEXT = "the continuation alone; empty: not run"
_WORDS = (
    "mean direct effect (see score) on the logits of the emotion's one-token words, less the mean over"
    " the vocabulary"
)
_LISTED = "NaN: no words of the emotion are listed in data/keywords.toml, or none is one token"
_PAIRED = "paired by prompt, a prompt's samples averaged first"
_PAIRS = f"{_COUNT}; of pairs of donor prompts where these are tested too and are fewer"

_CIRCUIT = (
    "mean logit of the words less that of all tokens, mean over the steps of the path; the head patched"
    " with the {donor} less the same with the {control}"
)
_PATHS = "what the reader makes of the head's output, integrated between the two donors; sums to total"
_NATS_INTERVAL = "all values that the sign-flip test does not reject, each by itself"
_OWN = "of the words' mean logit less that of all tokens; mean over the steps of the path and prompts"
_SHARE = "from the last query, the same tokens of a prompt added up, mean over prompts"
_ALONE = "against embeddings alone, before rotation by position, less the mean over the vocabulary"

#: name -> (long_name, units, comment), with places for the words of the donor and the control.
VARIABLES: dict[str, tuple[str, str, str]] = {
    "delta": ("mean Δ, patched with the {donor} - baseline", "1", f"{_SCORE}; {_PAIRED}; {_NAN}"),
    "ci_low": ("lower end of the 95 % interval of delta", "1", _INTERVAL),
    "ci_high": ("upper end of the 95 % interval of delta", "1", _INTERVAL),
    "p_value": ("p of delta", "1", _FLIPS),
    "n_nonzero": ("prompts whose delta is not 0", "1", _COUNT),
    "q_value": ("q of delta", "1", _FAMILY),
    "effect_size": ("Cohen's d_z of delta", "1", f"mean over standard deviation over prompts; {_NAN}"),
    "control_delta": (
        "mean Δ, patched with the {control} - baseline", "1", f"{_SCORE}; {_PAIRED}; {_NAN}",
    ),
    "control_ci_low": ("lower end of the 95 % interval of control_delta", "1", _INTERVAL),
    "control_ci_high": ("upper end of the 95 % interval of control_delta", "1", _INTERVAL),
    "net_delta": ("mean net Δ, delta - control_delta", "1", f"{_SCORE}; {_PAIRED}; {_NAN}"),
    "net_ci_low": ("lower end of the 95 % interval of net_delta", "1", _INTERVAL),
    "net_ci_high": ("upper end of the 95 % interval of net_delta", "1", _INTERVAL),
    "net_p_value": ("p of net_delta", "1", _FLIPS),
    "net_n_nonzero": ("prompts whose net_delta is not 0", "1", _PAIRS),
    "net_q_value": ("q of net_delta", "1", _FAMILY),
    "net_effect_size": (
        "Cohen's d_z of net_delta", "1", f"mean over standard deviation over prompts; {_NAN}",
    ),
    "net_donor_p_value": (
        "p of net_delta over donor pairs", "1",
        "two-sided sign-flip test over pairs of donor prompts, of first-order predictions; net_p_value"
        f" is the larger of this and the p over recipients; {_NAN}",
    ),
    "predicted_delta": (
        "mean Δ predicted with the {donor}", "nats",
        f"first order: gradient at the head's output times its change; {_NAN}",
    ),
    "checked_delta": (
        "mean Δ measured with the {donor}, of heads drawn at random to check predicted_delta", "nats",
        f"on the discovery prompts; {_NAN}",
    ),
    "checked_net_delta": ("mean net Δ measured of these heads", "nats", f"as checked_delta; {_NAN}"),
    "screen_score": (
        "the screen's score", "nats",
        "absolute predicted effect, or the mean over dropped layers of it (GradDrop); NaN: not screened",
    ),
    "chosen_rank_correlation": (
        "Spearman's correlation of predicted and measured effects over the chosen heads", "1",
        f"tested effects on the discovery prompts; {_NAN}",
    ),
    "unchosen_rank_correlation": (
        "the same over other heads drawn at random", "1", f"as chosen_rank_correlation; {_NAN}",
    ),
    "rank_correlation": ("the same over all of these heads", "1", f"as chosen_rank_correlation; {_NAN}"),
    "largest_unchosen": (
        "largest absolute effect measured of the other heads drawn at random", "nats", _NAN,
    ),
    "largest_missed": (
        "bound on the largest absolute effect of a head that was not chosen", "nats",
        "from random halves of these heads, patched together; holds with the attribute confidence where"
        f" a head's effect is not smaller in the company of others; {_NAN}",
    ),
    "predicted_net_delta": ("mean net Δ predicted", "nats", f"as predicted_delta; {_NAN}"),
    "prompting_share": (
        "tested effect as a share of what prompting does", "1",
        "ratio of means over prompts; NaN where prompting's own interval holds 0, or it did not run",
    ),
    "prompting_share_low": (
        "lower end of the 95 % interval of prompting_share", "1", "bootstrap over prompts",
    ),
    "prompting_share_high": (
        "upper end of the 95 % interval of prompting_share", "1", "bootstrap over prompts",
    ),
    "specific_delta": (
        "mean specific Δ, patched with the {donor} - patched with that of another emotion", "1",
        f"{_SCORE}; {_PAIRED}; {_NAN}",
    ),
    "specific_ci_low": ("lower end of the 95 % interval of specific_delta", "1", _INTERVAL),
    "specific_ci_high": ("upper end of the 95 % interval of specific_delta", "1", _INTERVAL),
    "specific_p_value": ("p of specific_delta", "1", f"as net_p_value; {_NAN}"),
    "specific_q_value": (
        "q of specific_delta", "1",
        f"as net_q_value, over all confirmed cells of all other emotions; {_NAN}",
    ),
    "specific_effect_size": ("Cohen's d_z of specific_delta", "1", f"as net_effect_size; {_NAN}"),
    "other_delta": (
        "tested effect of the other emotion's donor: its net Δ, or Δ where no control ran", "1",
        f"{_SCORE}; {_PAIRED}; {_NAN}",
    ),
    "other_q_value": ("q of other_delta", "1", f"as specific_q_value; {_NAN}"),
    "specificity": (
        "verdict on the tested effect", "1",
        "specific: beyond the control and every other emotion; any emotion: all others do it too;"
        " undetermined; no effect",
    ),
    "against_patched": (
        "score of the text patched with another emotion's donor", "1", f"{_SCORE}; mean over samples",
    ),
    "heads": ("the set's heads", "1", "as one spec, by place"),
    "random_effect": (
        "mean tested effect of a random set of as many heads", "1",
        f"drawn from the swept heads that are not in the nested set; {_SCORE}; {_NAN}",
    ),
    "sum_of_singles": (
        "sum of the mean tested effects of the set's heads patched one by one", "1",
        f"what the set would do if its heads did not act upon each other; {_SCORE}; {_NAN}",
    ),
    "patched": ("score of the text patched with the {donor}", "1", f"{_SCORE}; mean over samples"),
    "control_patched": (
        "score of the text patched with the {control}", "1", f"{_SCORE}; mean over samples",
    ),
    "baseline": ("score of the unpatched text", "1", f"{_SCORE}; mean over samples"),
    "kl_first_token": (
        "KL(baseline || patched) at the first generated token", "nats",
        f"of the next-token distributions at temperature 1, free of sampling; {_NAN}",
    ),
    "control_kl_first_token": (
        "KL(baseline || control) at the first generated token", "nats",
        f"as kl_first_token, with the {{control}}; {_NAN}",
    ),
    "n_prompts": ("prompts the cell was tested on", "1", "0: not tested"),
    "changed_share": (
        "share of texts whose tokens differ from the baseline's", "1", f"{{donor}}; {_NAN}",
    ),
    "control_changed_share": (
        "share of control texts whose tokens differ from the baseline's", "1", f"{{control}}; {_NAN}",
    ),
    "is_primary": (
        "whether the test is of the primary family", "1",
        "declared before the run: the primary metrics x the declared sets x the primary modes; the"
        " others are exploratory",
    ),
    "guards_kept": (
        "whether the texts still read as the baseline's", "1",
        "1: with the {donor} the mean over prompts of each fluency guard (mean_ln_p, repeated_4grams)"
        " lies within the 5th to 95th percentile of the baseline over these prompts, repetitions at"
        " least up to one in one of a prompt's texts; 0: not; NaN: not"
        " looked at",
    ),
    "chosen": (
        "whether the candidate was chosen for the answer", "1",
        "the largest tested effect on the read-out chosen_by, among those that keep the guards",
    ),
    "is_of_emotion": (
        "whether the metric of text stands for the emotion", "1", "its GoEmotions label or its keywords",
    ),
    "p_adjusted": (
        "adjusted p of the tested effect in the primary family", "1",
        "step-down minP with the same sign flips for all tests of a prompt: controls the family-wise"
        f" error, the probability of one or more false rejections; of net Δ where a control ran; {_NAN}",
    ),
    "synergy": (
        "mean of joint Δ - sum of single Δ", "1",
        f"of net Δ where a control ran; {_PAIRED}; {_SCORE}; {_NAN}",
    ),
    "synergy_ci_low": ("lower end of the 95 % interval of synergy", "1", _INTERVAL),
    "synergy_ci_high": ("upper end of the 95 % interval of synergy", "1", _INTERVAL),
    "synergy_p_value": ("p of synergy", "1", _FLIPS),
    "synergy_n_nonzero": ("prompts whose synergy is not 0", "1", _COUNT),
    "synergy_q_value": (
        "q of synergy", "1",
        "Benjamini-Hochberg over the group's sets, modes and metrics, read-outs apart from text:"
        " controls the false discovery rate; NaN as in q_value",
    ),
    "synergy_equivalence_p": (
        "p of the equivalence test of synergy", "1", "small: supports that there is no synergy",
    ),
    "synergy_equivalence_q": (
        "q of the equivalence test of synergy", "1", "Benjamini-Hochberg over the same tests",
    ),
    "synergy_detectable": (
        "synergy that this many prompts find with 80 % power", "1",
        f"in one test at the level of q, by the spread that was measured; {_SCORE}",
    ),
    "synergy_verdict": (
        "verdict on synergy", "1",
        "Yes (q below the level), No (the q of the equivalence test is), no effect (neither the set nor"
        " a head of it has a significant effect), or undetermined",
    ),
    "baseline_text": ("text of the unpatched run", "1", _TEXT),
    "patched_text": ("text patched with the {donor}", "1", _TEXT),
    "control_text": ("text patched with the {control}", "1", _TEXT),
    "was_generated": (
        "whether there are texts", "1",
        "where not, the texts are empty because nothing was generated, not because the model was silent",
    ),
    "token": ("token that the head's emotional output moves directly", "1", "as it is decoded"),
    "score": (
        "direct effect on the token's logit", "1",
        "W_U diag(gain) W_O (mean emotion donor - mean neutral donor): the gain of the final"
        " normalisation, centred where it is a LayerNorm, without its scale 1/sigma",
    ),
    "emotion_z": (
        "how far the head promotes the emotion's words directly, as a z-score over all heads", "1",
        f"{_WORDS}; less the mean over all heads of the model, over their standard deviation; {_LISTED}",
    ),
    "emotion_rank": (
        "rank of the head among all heads of the model in promoting the emotion's words directly", "1",
        f"1 is the highest; by {_WORDS}; {_LISTED}",
    ),
    "total": (
        "effect of one head on the words' logits, with frozen normalisation", "nats",
        f"{_CIRCUIT}; {_NAN}",
    ),
    "total_delta": ("mean of total over prompts", "nats", f"{_CIRCUIT}; {_NAN}"),
    "total_ci_low": ("lower end of the 95 % interval of total_delta", "nats", _NATS_INTERVAL),
    "total_ci_high": ("upper end of the 95 % interval of total_delta", "nats", _NATS_INTERVAL),
    "total_p_value": ("p of total_delta", "1", _FLIPS),
    "path": ("the part of total that goes through one reader", "nats", f"{_PATHS}; {_NAN}"),
    "path_delta": ("mean of path over prompts", "nats", f"{_PATHS}; {_NAN}"),
    "path_ci_low": ("lower end of the 95 % interval of path_delta", "nats", _NATS_INTERVAL),
    "path_ci_high": ("upper end of the 95 % interval of path_delta", "nats", _NATS_INTERVAL),
    "path_p_value": ("p of path_delta", "1", _FLIPS),
    "path_n_nonzero": ("prompts whose path is not 0", "1", _COUNT),
    "path_q_value": (
        "q of path_delta", "1",
        "Benjamini-Yekutieli over the paths of all heads; NaN: too few differences other than 0",
    ),
    "path_by_letter": (
        "the part of path_delta through the queries, keys and values of a head", "nats",
        f"{_PATHS}; NaN for the logits and MLPs, and where nothing reads the head",
    ),
    "path_gap": (
        "largest difference over prompts of total and the sum of path over readers", "nats",
        "what the quadrature of the paths leaves",
    ),
    "direct_share": (
        "part of total_delta that goes straight to the logits", "1",
        "ratio of means over prompts; NaN where the interval of total_delta holds 0",
    ),
    "direct_share_low": (
        "lower end of the 95 % interval of direct_share", "1", "bootstrap over prompts",
    ),
    "direct_share_high": (
        "upper end of the 95 % interval of direct_share", "1", "bootstrap over prompts",
    ),
    "own_heads": ("direct attribution of a head in the unpatched run", "nats", _OWN),
    "own_mlps": ("direct attribution of an MLP in the unpatched run", "nats", _OWN),
    "own_biases": ("direct attribution of the bias of an attention's output", "nats", _OWN),
    "own_embedding": ("direct attribution of the embeddings", "nats", _OWN),
    "own_constant": ("bias of the final normalisation and the unembedding", "nats", _OWN),
    "own_total": ("the unpatched read-out, the sum of all own_*", "nats", _OWN),
    "read_token": ("token that the head reads more of emotion prompts", "1", "as it is decoded"),
    "read_emotion": ("share of the head's attention in emotion prompts", "1", _SHARE),
    "read_neutral": ("share of the head's attention in neutral prompts", "1", _SHARE),
    "asked_token": ("token whose key the emotion's queries ask for more", "1", "as it is decoded"),
    "asked_score": ("score of attention, before the softmax", "1", f"difference of queries {_ALONE}"),
    "answered_token": ("token whose query finds what the head reads more", "1", "as it is decoded"),
    "answered_score": ("score of attention, before the softmax", "1", f"difference of keys {_ALONE}"),
}  # fmt: skip

COORDINATES: dict[str, tuple[str, str, str]] = {
    "layer": ("layer", "1", "index of the block, counted from 0"),
    "head": ("head", "1", "index of the query head within its layer, counted from 0"),
    "mode": ("patch mode", "1", "what of the donor is written: see docs/method.md"),
    "metric": ("metric", "1", "score of the continuation, or read-out: see docs/scorers.md"),
    "measured_on": (
        "what the metric is measured on",
        "1",
        "text, or logits: a read-out of the model's distribution",
    ),
    "prompt": ("neutral prompt", "1", "index in the neutral prompts file, counted from 0"),
    "prompt_text": ("text of the neutral prompt", "1", "as in the file, before any chat template"),
    "split": (
        "part of the prompts",
        "1",
        "discovery, confirmation, fresh (of the answer's second test), or all where there is no split",
    ),
    "head_set": ("heads patched together", "1", "head spec: layer:head, comma-separated"),
    "against": ("other emotion", "1", "whose donor is a control"),
    "strength": (
        "strength of the intervention",
        "1",
        "1 replaces a head's output with the donor's, or adds the difference of donors once; 0: nothing",
    ),
    "trial": (
        "test of the answer",
        "1",
        "confirmation: on the confirmation's prompts; fresh: on prompts that nothing has used, with the"
        " next seed",
    ),
    "n_heads": ("heads of the set", "1", "the first of the sweep's order"),
    "draw": ("number of the random set", "1", "drawn by the profile's seed"),
    "half": ("half of the prompts", "1", "discovery, confirmation, or all where there is no split"),
    "positive_control": (
        "positive control",
        "1",
        "prompting, or the shift of all heads with its strength",
    ),
    "sample": ("sample", "1", "index of the continuation of one prompt, counted from 0"),
    "length": ("generated tokens", "1", "the texts cut after so many tokens"),
    "direction": ("direction", "1", "promoted or suppressed"),
    "reader": (
        "what reads the head's output",
        "1",
        "logits, mlp:layer, or a later head (layer:head) by its queries, keys and values together",
    ),
    "letter": ("what of a head reads", "1", "q, k or v: its queries, keys or values"),
    "place": ("place in a list of tokens", "1", "1 is the first"),
    "rank": ("rank", "1", "1 is the token moved most"),
}


def label(dataset: xr.Dataset, *, donor: str = "mean", control: str = "neutral") -> xr.Dataset:
    """Write `long_name`, `units` and `comment` on every known variable and coordinate, in place.

    Parameters
    ----------
    dataset : xarray.Dataset
        Of an effects tree.
    donor, control : str
        The kinds that ran (:data:`phase7.vocabulary.donors.DONOR_RECORDS`).

    Returns
    -------
    xarray.Dataset
        The same object; what it holds beyond :data:`VARIABLES` and :data:`COORDINATES` is left alone.
    """
    words = {"donor": donor_words(donor), "control": donor_words(control)}
    known = VARIABLES | COORDINATES
    for name, variable in dataset.variables.items():
        if name in known:
            long_name, units, comment = known[str(name)]
            variable.attrs.update(
                long_name=long_name.format(**words), units=units, comment=comment.format(**words)
            )
    return dataset
