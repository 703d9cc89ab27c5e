"""Strengths, fluency guards, and the answer that was tested by text: key -> (Japanese, English)."""

TRIALS: dict[str, tuple[str, str]] = {
    "h.guards": ("テキストは読めるか", "Does the text still read"),
    "c.guards": (
        "流暢さの確認（mode {mode}、{stage}）",
        "Fluency guards (mode {mode}, {stage})",
    ),
    "where.guard": ("{label}、{guard}", "{label}, {guard}"),
    "guards.name": ("指標", "Guard"),
    "guards.baseline": ("ベースライン", "Baseline"),
    "guards.range": ("5～95 %", "5 to 95 %"),
    "guards.patched": ("置換後", "Patched"),
    "guards.kept": ("範囲内か", "In the range"),
    "guards.what": (
        "`mean_ln_p`は、パッチなしのモデルのもとでの、続きのトークンあたりの平均ln p（nat）。`repeated_4grams`は、"
        "繰り返された4-gramの割合。感情ドナーでの平均が、パッチなしの値のプロンプトにわたる5～95パーセンタイルを外れたHeadと"
        "集合には†を付ける。その効果は、もはやベースラインのようには読めないテキストでの効果である。",
        "`mean_ln_p` is the mean ln p per token of the continuation under the unpatched model, in nats; "
        "`repeated_4grams` the share of its 4-grams of tokens that repeat an earlier one. Heads and sets whose "
        "mean with the emotion's donor leaves the 5th to 95th percentile of the unpatched values over prompts "
        "carry a †: what they do, they do in texts that no longer read as the baseline's.",
    ),
    "guards.nobody": (
        "どのHeadも集合も範囲を外れない。",
        "No head and no set leaves it.",
    ),
    "guards.left": (
        "外れたもの: {labels}。",
        "Out of it: {labels}.",
    ),
    "guards.sentence": (
        "ただし、そのテキストはもはやベースラインのようには読めない（{which}）。",
        "Its texts no longer read as the baseline's, though ({which}).",
    ),
    "guards.value": (
        "{guard} {value}、ベースラインは{range}",
        "{guard} {value}, the baseline's range is {range}",
    ),
    "f.strengths": (
        "強さと効果（{stage}、95 %区間）。白抜きは、テキストがベースラインのようには読めないもの",
        "Effect by strength ({stage}, 95 % intervals); hollow where the text no longer reads as the baseline's",
    ),
    "f.choice": (
        "候補の強さと効果（探索用プロンプト、95 %区間）。大きな印は選ばれたもの、白抜きは、テキストがベースラインのようには"
        "読めないもの",
        "Candidates by strength (discovery prompts, 95 % intervals); the large mark was chosen; hollow where "
        "the text no longer reads as the baseline's",
    ),
    "h.strengths": ("強さ", "Strength"),
    "c.strengths": (
        "強さを変えた効果（{how}、mode {mode}、{stage}）",
        "Effects at other strengths ({how}, mode {mode}, {stage})",
    ),
    "where.dose": ("{label}、強さ{strength}、{metric}", "{label} at {strength}, {metric}"),
    "strengths.name": ("強さ", "Strength"),
    "strengths.replace": ("出力をドナーの方へその倍率だけ動かす", "so many times the way to the donor"),
    "strengths.add": ("ドナーの差をその倍率だけ足す", "so many times the difference of donors is added"),
    "h.trials": ("テキストは動くか", "Does the text move"),
    "c.choice": (
        "候補（探索用プロンプト、1プロンプト1サンプル、mode {mode}）",
        "Candidates (discovery prompts, one sample each, mode {mode})",
    ),
    "c.trials": (
        "選ばれた{n}個のHead（強さ{strength}）をテキストで検定した結果",
        "The chosen {n} heads at strength {strength}, tested by text",
    ),
    "where.trial": ("{trial}、{metric}、対{against}", "{trial}, {metric}, against {against}"),
    "trials.what": (
        "先頭のHeadの集合と強さの候補を探索用プロンプトで比べ、テキストがベースラインのように読めるもののうち、{metric}を"
        "最も上げるものを選ぶ。それを、確認用プロンプトと、どの段階でも使っていないプロンプト（別のシード）とで、テキストで検定する。"
        "各検定で、感情を表すテキスト指標について、controlとの差（net）とほかの感情のドナーとの差（特異的）を1つの族として"
        "q（Benjamini-Hochberg）を求める。すべてのqが水準未満で、テキストが範囲内のときに「動く」とする。",
        "Sets of the sweep's first heads at several strengths are compared on discovery prompts; of those whose "
        "texts still read as the baseline's, the one that raises {metric} most is chosen. It is tested by text "
        "on the confirmation prompts, and again on prompts that nothing has used, with another seed. In each "
        "trial the differences from the control (net) and from the donors of other emotions (specific), on the "
        "metrics of text that stand for the emotion, are one family of q (Benjamini-Hochberg). The text is said "
        "to move where all of a metric's q are below the level and the text still reads as the baseline's.",
    ),
    "trials.confirmation": ("確認用", "confirmation"),
    "trials.fresh": ("未使用", "fresh"),
    "trials.trial": ("プロンプト", "Prompts"),
    "trials.against": ("比較", "Against"),
    "trials.control": ("control", "control"),
    "trials.bound": ("上限（promptingに対する割合）", "Upper bound, share of prompting"),
    "trials.chosen": ("選ばれたか", "Chosen"),
    "trials.nobody": (
        "候補のうち、テキストがベースラインのように読め、かつ{metric}を上げるものはない。テキストの検定は行っていない。",
        "No candidate raises {metric} in texts that still read as the baseline's, so no text was tested.",
    ),
    "trials.moves": (
        "探索用プロンプトで選んだ先頭{n}個のHead（強さ{strength}）は、テキストを動かす: {results}。controlとの差も、"
        "ほかの感情のドナーとの差も、確認用と未使用のプロンプトの両方で有意である（q < {alpha}）。",
        "The first {n} heads at strength {strength}, chosen on discovery prompts, move the text: {results}. "
        "Beyond the control and beyond every other emotion, on confirmation prompts and again on fresh ones "
        "(each q < {alpha}).",
    ),
    "trials.moves.once": (
        "探索用プロンプトで選んだ先頭{n}個のHead（強さ{strength}）は、テキストを動かす: {results}。controlとの差も、"
        "ほかの感情のドナーとの差も有意である（q < {alpha}）。",
        "The first {n} heads at strength {strength}, chosen on discovery prompts, move the text: {results}. "
        "Beyond the control and beyond every other emotion (each q < {alpha}).",
    ),
    "trials.result": (
        "{metric}は確認用で{first}",
        "{metric} by {first} on the confirmation prompts",
    ),
    "trials.result.again": (
        "{metric}は確認用で{first}、未使用で{second}",
        "{metric} by {first} on the confirmation prompts and {second} on the fresh ones",
    ),
    "trials.fails": (
        "探索用プロンプトで選んだ先頭{n}個のHead（強さ{strength}）がテキストで{emotion}だけを動かすことは、示されなかった"
        "（{why}）。controlとの差は高々（95 %区間の上端、検定ごとの大きい方）{bounds}である。",
        "That the first {n} heads at strength {strength}, chosen on discovery prompts, move {emotion} and nothing "
        "else in the text was not shown ({why}). Against the control the effect is at most (upper end of the "
        "95 % interval, the larger one of the trials) {bounds}.",
    ),
    "trials.bound.share": (
        "{metric}で{value}（promptingの{share}）",
        "{value} on {metric}, {share} of prompting",
    ),
    "trials.bound.plain": (
        "{metric}で{value}（promptingが動かさない指標なので、何も示せなかったかもしれない）",
        "{value} on {metric}, which prompting does not move either, so that it could not have shown anything",
    ),
    "trials.why.q": (
        "qが水準以上のもの: {which}",
        "q at or above the level: {which}",
    ),
    "trials.why.guards": (
        "{trial}のプロンプトで、テキストがもはやベースラインのようには読めない",
        "on the {trial} prompts the text no longer reads as the baseline's",
    ),
    "trials.why.place": (
        "{trial}の{metric}、対{against}",
        "{metric} against {against} on the {trial} prompts",
    ),
}
