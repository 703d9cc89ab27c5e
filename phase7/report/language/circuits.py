"""The words on how the effects of heads reach the logits, and on what these heads read."""

from __future__ import annotations

CIRCUITS: dict[str, tuple[str, str]] = {
    "c.circuit": (
        "見つかったHeadの効果の経路と、読み書きするもの（{n}件のプロンプト）",
        "How the effects of the heads found reach the logits, and what they read and write ({n} prompts)",
    ),
    "c.paths": (
        "効果の経路: 直接と、主な読み手",
        "Paths of the effects: directly, and through the main readers",
    ),
    "f.circuit": (
        "見つかったHeadの回路。矢印は経路、数値は平均と95 %区間（nats）",
        "The circuit of the heads found; arrows are paths, numbers are means with 95 % intervals in nats",
    ),
    "circuit.effect": ("語のlogitへの効果", "Effect on the words' logits"),
    "circuit.share": ("直接の割合", "Direct share"),
    "circuit.readers": ("主な読み手", "Main readers"),
    "circuit.reads": ("読むもの", "Reads"),
    "circuit.asks": ("クエリが求めるもの", "Queries ask for"),
    "circuit.writes": ("書くもの", "Writes"),
    "circuit.path": ("経路", "Path"),
    "circuit.part": ("効果の部分", "Part of the effect"),
    "circuit.arrow": ("{head} → {reader}", "{head} → {reader}"),
    "circuit.unclear": ("効果が0と区別できない", "the effect is not told from 0"),
    "note.paths": (
        "効果は、Headを{donor}で置換したときの、語の集合{words}の平均logitから全語彙の平均を引いた値"
        "（経路の先頭、最大{steps}ステップの平均、nats）の、controlで置換したときとの差である（controlがなければ置換しないときとの差）。"
        "正規化の尺度は置換しない実行のものに固定する。"
        "Headの出力を読むのはlogit、後のHeadのquery・key・value（q、k、v）、後のMLPであり、各読み手を通る部分は、"
        "二つのdonorの間で読み手についての微分を積分したもので、すべての読み手についての和が効果に等しい"
        "（ここでの差は最大{gap}）。qは全経路を一つの族とするBenjamini–Yekutieliによる。",
        "The effect is that of the head patched with the {donor} less the same with the control (or less the "
        "unpatched run where there is none) on the mean logit of the set of words {words} less that of all tokens, "
        "over the first steps of the path ({steps} at most), in nats. The normalisations keep the scales of the unpatched "
        "run. What reads a head's output are the logits, the queries, keys and values (q, k, v) of later heads, "
        "and later MLPs; the part through one of them is the derivative by what it reads, integrated between the "
        "two donors, and all parts sum to the effect (here to within {gap}). q is Benjamini–Yekutieli over all paths.",
    ),
    "note.reads": (
        "「読むもの」は最後のqueryの注意が感情プロンプトで中立プロンプトより多く向くトークン（括弧内は両者での割合）、"
        "「クエリが求めるもの」は感情プロンプトと中立プロンプトのqueryの差に、埋め込みだけから作ったkeyが最も合うトークン"
        "（位置の回転の前、直接経路のみ）、「書くもの」は上のOVの表の先頭である。",
        "“Reads” are the tokens to which the last query attends more in emotion prompts than in neutral ones, with "
        "the shares of attention in both; “queries ask for” are the tokens whose keys, made of the embedding alone "
        "and before rotation by position, fit the difference of the queries best; “writes” is the beginning of the "
        "table of OV tokens.",
    ),
    "paths.share": (
        "{label}の効果{total} {interval}のうち{share}（95 %区間{low}～{high}）は直接logitへ向かう。",
        "Of the effect of {label}, {total} {interval}, {share} goes straight to the logits (95 % interval {low} to "
        "{high}).",
    ),
    "paths.unclear": (
        "{label}の効果{total} {interval}は0と区別できず、割合は求めない。",
        "The effect of {label}, {total} {interval}, is not told from 0, so it has no shares.",
    ),
    "paths.through": (
        "後の部分を通る経路のうち最も大きいのは{readers}である。",
        "Of its paths through later parts, the largest are {readers}.",
    ),
    "paths.last": (
        "{label}の後に読み手はない。",
        "Nothing but the logits comes after {label}.",
    ),
    "paths.reads": (
        "{label}は感情プロンプトで{tokens}を中立プロンプトより多く読む。",
        "{label} reads {tokens} more in emotion prompts than in neutral ones.",
    ),
    "paths.writes": (
        "書くものが最も強めるのは{tokens}である。",
        "What it writes raises {tokens} most.",
    ),
}
