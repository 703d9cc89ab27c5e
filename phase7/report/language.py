"""The report's words in Japanese and English.

What enters: a key and a language. What leaves: the words; both languages have the same keys.
"""

from __future__ import annotations

from typing import Any, Literal

Language = Literal["ja", "en"]

_WORDS: dict[str, tuple[str, str]] = {
    "title": ("phase7レポート: {profile}", "phase7 report: {profile}"),
    "purpose": ("目的", "Purpose"),
    "purpose_text": (
        "注意ヘッドが{emotions}を生成文に運ぶかどうかを因果的に調べる。感情プロンプトで記録したヘッド"
        "の活性を、中立プロンプトの生成中に移植し、同じサンプリング雑音を共有する無介入の生成（baseline）"
        "と比較する。表と文の数値はすべてeffects storeから計算した。",
        "Does an attention head carry {emotions} into the text? Activations recorded on emotional prompts"
        " are transplanted into neutral runs while they generate, and compared with the unpatched run"
        " (baseline) under the same sampling noise. Every number and sentence below is computed from"
        " the effects store.",
    ),
    "net_text": (
        "Δ = patched − baseline（プロンプト対応差の平均）。対照Δは感情を含まない中立ドナーでの同じ量、"
        "純Δ = Δ − 対照Δ。有意性は純Δについて判定する（BH法、{family}、q < {alpha}）。"
        "– は未検定または計算不能を表す。",
        "Δ = patched − baseline, paired by prompt. Control Δ is the same with a donor without the emotion;"
        " net Δ = Δ − control Δ. Significance is of the net Δ (Benjamini–Hochberg over {family},"
        " q < {alpha}). A dash means not tested or not defined.",
    ),
    "no_control_text": (
        "Δ = patched − baseline（プロンプト対応差の平均）。対照ドナーは実行していないため、感情による"
        "効果とヘッド置換そのものの効果は区別できない（BH法、{family}、q < {alpha}）。",
        "Δ = patched − baseline, paired by prompt. No control donor ran, so an effect of the emotion cannot"
        " be told from the effect of replacing the head at all (Benjamini–Hochberg over {family},"
        " q < {alpha}).",
    ),
    "h1": ("Head Patching設定", "Head patching settings"),
    "h2": ("Baseline vs Patched比較", "Baseline against patched"),
    "h3": ("Patch Mode比較", "Patch modes compared"),
    "h4": ("Head別の効果", "Effects by head"),
    "h5": ("生成テキストの変化", "How the text changes"),
    "h6": ("Multi-token生成の重要性", "One token against many"),
    "h7": ("考察", "Discussion"),
    "h8": ("再現性", "Reproducibility"),
    "setting": ("項目", "setting"),
    "value": ("値", "value"),
    "metric": ("指標", "metric"),
    "baseline": ("baseline", "baseline"),
    "patched": ("patched", "patched"),
    "delta": ("Δ", "Δ"),
    "control_delta": ("対照Δ", "control Δ"),
    "net_delta": ("純Δ", "net Δ"),
    "interval": ("95 %区間", "95 % interval"),
    "mode": ("モード", "mode"),
    "head": ("ヘッド", "head"),
    "heads": ("ヘッド集合", "heads"),
    "size": ("効果の大きさ", "size of effect"),
    "overall": ("総合評価", "overall"),
    "changed": ("変化したテキスト", "texts changed"),
    "synergy": ("相乗効果", "synergy"),
    "estimate": ("推定値", "estimate"),
    "length": ("長さ（トークン）", "length (tokens)"),
    "n_tests": ("検定数", "tests"),
    "n_found": ("q < {alpha}", "q < {alpha}"),
    "smallest_q": ("最小q", "smallest q"),
    "best": ("最小qの検定", "test with the smallest q"),
    "prompt": ("プロンプト", "prompt"),
    "control_text": ("対照", "control"),
    "not_measured": ("未測定", "not measured"),
    "target_note": (
        "対象ヘッド {target}、モード {mode}、{n}個の{half}プロンプト。",
        "Target heads {target}, mode {mode}, {n} {half} prompts.",
    ),
    "half_confirmation": ("確認用", "confirmation"),
    "half_all": ("中立", "neutral"),
    "goemotions": ("GoEmotions 28ラベル", "The 28 GoEmotions labels"),
    "sentiment_note": (
        "「sentiment」はsentiment_positiveを指す。",
        '"sentiment" is sentiment_positive.',
    ),
    "confirmed_heads": ("個別ヘッド（{half}プロンプト、モード {mode}）", "Single heads ({half} prompts, mode {mode})"),
    "combinations": ("ヘッドの組み合わせ", "Head combinations"),
    "synergy_note": (
        "相乗効果 = 同時パッチの効果 − 個別効果の和（プロンプト対応）。Yes: 区間が0を含まない。"
        "No: 同等性検定が無視できる大きさを支持。その他は undetermined。",
        "Synergy = effect of patching together − sum of the single effects, paired by prompt. Yes: the"
        " interval excludes 0; No: an equivalence test supports that it is negligible; else undetermined.",
    ),
    "sweep": (
        "全ヘッド探索の上位（探索用プロンプト{n}個、{tokens}トークン。選択に使った数値であり、証拠ではない）",
        "Strongest heads of the sweep ({n} discovery prompts, {tokens} tokens; these numbers chose the"
        " heads and are no evidence)",
    ),
    "sweep_rule": ("選択規則: {rule}。", "Selection rule: {rule}."),
    "texts_rule": (
        "対象ヘッド {target}、モード {mode}。{metric} の |Δ| が最大の{n}プロンプトを示す。▸ はbaselineと"
        "最初に異なる位置。{same} / {total} のテキストは変化しなかった。",
        "Target heads {target}, mode {mode}: the {n} prompts with the largest |Δ| of {metric}. ▸ marks the"
        " first difference from the baseline. {same} of {total} texts did not change.",
    ),
    "kl_row": (
        "最初のトークンでのKL(baseline‖patched)の平均: 感情ドナー {kl} nats、対照ドナー {control} nats"
        "（{target}、{mode}）。",
        "Mean KL(baseline‖patched) at the first token: emotion donor {kl} nats, control donor {control} nats"
        " ({target}, {mode}).",
    ),
    "why_same": (
        "長さ{first}で既にq < {alpha}の効果が{n_first}件あり、長さ{last}では{n_last}件である。",
        "At length {first} there are already {n_first} effects with q < {alpha}; at length {last} there are"
        " {n_last}.",
    ),
    "why_none": (
        "どの長さでもq < {alpha}に達した効果はない（最小qは{q}）。n = {n}プロンプトで到達可能な最小のpは"
        "{p}である。",
        "No effect reaches q < {alpha} at any length (smallest q {q}). With n = {n} prompts the smallest"
        " reachable p is {p}.",
    ),
    "why_changed": (
        "変化したテキストの割合は長さ{first}で{share_first}、長さ{last}で{share_last}。共有雑音の下では、"
        "パッチがトークンを一つ変えるまで両者は一致するため、短い生成では差が現れる機会が少ない。",
        "The share of changed texts is {share_first} at length {first} and {share_last} at length {last}:"
        " under shared noise the two texts agree until the patch flips a token, so short continuations"
        " leave it little room.",
    ),
    "thresholds": ("判定基準: {note}", "Thresholds: {note}"),
    "causal": ("ヘッドの重要性の因果的証拠", "Causal evidence for head importance"),
    "modes": ("最も作用するモード", "Which mode acts most"),
    "combined": ("組み合わせの効果", "Combination effects"),
    "outlook": ("OV/QK回路解析への示唆", "What it suggests for an OV/QK circuit analysis"),
    "found_head": (
        "{label}（{mode}）は{metric}を純Δ {net}（95 %区間 {interval}、q = {q}）だけ動かした（表4、{label}）。",
        "{label} ({mode}) moved {metric} by a net Δ of {net} (95 % interval {interval}, q = {q}; table 4,"
        " row {label}).",
    ),
    "found_nothing": (
        "検定した{n_tests}件のうちq < {alpha}に達したものはない。最小のqは{q}（{best}）。この設計"
        "（{n}プロンプト）からは、どのヘッドについても感情に固有の因果効果は示されない。",
        "Of {n_tests} tests none reaches q < {alpha}; the smallest q is {q} ({best}). With {n} prompts this"
        " run shows no causal effect specific to the emotion for any head.",
    ),
    "found_some": (
        "検定した{n_tests}件のうち{n_found}件がq < {alpha}に達した。",
        "Of {n_tests} tests {n_found} reach q < {alpha}.",
    ),
    "control_moves": (
        "対照ドナーでも{share}のテキストが変化した（感情ドナーでは{emotion_share}）。ヘッドの置換自体が"
        "文を変えるため、Δではなく純Δで判断する必要がある。",
        "The control donor changed {share} of the texts too (the emotion donor {emotion_share}): replacing a"
        " head changes the text as such, which is why net Δ counts and not Δ.",
    ),
    "mode_most": (
        "対象ヘッドのテキスト変化率が最大のモードは{mode}（{share}）、KLが最大のモードは{kl_mode}"
        "（{kl} nats）（表3）。モード間の差自体は検定していない。",
        "For the target heads mode {mode} changes most texts ({share}) and mode {kl_mode} has the largest"
        " first-token KL ({kl} nats; table 3). The difference between modes itself was not tested.",
    ),
    "synergy_claim": (
        "{label}（{mode}）: {metric}の相乗効果は{verdict}（推定 {estimate}、区間 {interval}、p = {p}）（表4）。",
        "{label} ({mode}): synergy in {metric} is {verdict} (estimate {estimate}, interval {interval},"
        " p = {p}; table 4).",
    ),
    "no_sets": ("ヘッド集合は検定していない。", "No head set was tested."),
    "ov_claim": (
        "{label}: W_U·W_O(z̄_emotion − z̄_neutral) が上げるトークン: {up}。下げるトークン: {down}。",
        "{label}: W_U·W_O(z̄_emotion − z̄_neutral) raises {up}; it lowers {down}.",
    ),
    "ov_note": (
        "これは直接経路のみの手がかりであり（最終正規化は含まない）、生成文の測定ではない。",
        "This is the direct path only, without the final normalisation: a lead, not a measurement of text.",
    ),
    "overlap": (
        "注意: 探索と確認に同じプロンプトが使われている。",
        "Note: discovery and confirmation share prompts.",
    ),
    "repro": (
        "seed {seed}、自己パッチ検査 {rows}行（失敗 {failures}、最大logit差 {gap}）、fingerprint {fingerprint}、"
        "{packages}。",
        "Seed {seed}; self-patch checks: {rows} rows, {failures} failures, largest logit gap {gap}; fingerprint"
        " {fingerprint}; {packages}.",
    ),
    "scorer": ("スコアラー: {text}", "Scorer: {text}"),
}  # fmt: skip


def say(lang: Language, key: str, **values: Any) -> str:
    """The words of `key`, with `values` filled in."""
    return _WORDS[key][0 if lang == "ja" else 1].format(**values)
