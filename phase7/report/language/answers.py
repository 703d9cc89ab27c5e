"""Positive controls, read-outs and what of them reaches the text: key -> (Japanese, English)."""

ANSWERS: dict[str, tuple[str, str]] = {
    "h.controls": ("陽性対照", "Positive controls"),
    "c.controls": (
        "陽性対照の効果（確認用プロンプト、パッチなしの中立プロンプトとの差）",
        "What the positive controls do (confirmation prompts, against the unpatched neutral prompts)",
    ),
    "where.control": ("{control}、{metric}", "{control}, {metric}"),
    "controls.name": ("対照", "Control"),
    "controls.shows": ("動いたか", "Moved"),
    "controls.can": ("動いた", "yes"),
    "controls.cannot": ("0を含む", "holds 0"),
    "controls.what": (
        "効果がないと言えるのは、動くはずのものが動く指標だけである。`prompting`は、パッチなしのモデルを同じ番号の"
        "感情プロンプトで走らせたもの。`shift`は、中立プロンプトでの全Headの出力に、感情ドナーとcontrolドナーの差を"
        "その倍率で足したもの。",
        "“No effect” can only be said of a metric that moves where it should. `prompting` is the "
        "unpatched model on the emotion prompt of the same index. `shift` adds to what every head gives on "
        "the neutral prompt so many times the difference of the emotion's and the control's donor.",
    ),
    "controls.unmoved": (
        "promptingが動かさない指標: {metrics}。これらで何も見つからなくても、指標が何も示せなかっただけかもしれず、"
        "「効果なし」とは言えない。promptingに対する割合も定義しない。",
        "Not moved by prompting: {metrics}. Where nothing is found on these, they could not have shown "
        "anything, which is not “no effect”; shares of prompting are undefined.",
    ),
    "controls.none": (
        "陽性対照は走らせていない。したがって、有意でない結果から、指標が動き得なかったのか、Headに効果がないのかは"
        "わからない。",
        "No positive control ran. Where a result is not significant, nothing tells a metric that could not "
        "have moved from a head without an effect.",
    ),
    "answer.heads": (
        "読み出し{metric}で有意な（q < {alpha}）単独Headは、検定した{tests}個中{n}個である。大きい順に: {heads}"
        "（{effect}、nat{shares}）。",
        "Single heads with a significant effect on the read-out {metric} (q < {alpha}): {n} of {tests} tested. The "
        "largest: {heads} ({effect} in nats{shares}).",
    ),
    "answer.heads.shares": (
        "。括弧内はpromptingの効果に対する割合",
        "; in brackets the share of what prompting does",
    ),
    "answer.head": ("{head} {value}（{share}）", "{head} {value} ({share})"),
    "answer.head.plain": ("{head} {value}", "{head} {value}"),
    "answer.set": (
        "{label}個のHeadをまとめて置換すると、{readout}は{nats} nat、{metric}は{value}動く"
        "（95 %区間{interval}、{q}{share}）。",
        "The {label} heads patched together move {readout} by {nats} nats and {metric} by {value} (95 % "
        "interval {interval}, {q}{share}).",
    ),
    "answer.q": ("主要な族での調整した{p}", "adjusted {p} in the primary family"),
    "answer.share": ("、promptingの{share}", ", {share} of prompting"),
    "answer.random": (
        "同じ数の無作為なHead（{label}）では{value}（{q}）である。",
        "As many heads drawn at random ({label}) move it by {value} ({q}).",
    ),
    "answer.detectable": (
        "単独のHeadについては、{metric}が{size}以上動いていれば80 %の確率で検出できた（n = {n}、この実験で測った"
        "ばらつきから計算、水準0.05の1検定）。",
        "A single head would have been found to move {metric} with a power of 80 % if it moved it by {size} "
        "or more (n = {n}, one test at the level 0.05, from the variance measured here).",
    ),
    "c.answer": (
        "Headと集合の効果: 読み出しとテキスト（mode {mode}、{stage}）",
        "Heads and sets: effects on the read-out and on the text (mode {mode}, {stage})",
    ),
    "answer.share.name": ("promptingに対する割合", "Share of prompting"),
    "answer.primary": ("主要な族の調整したp", "Adjusted p, primary family"),
    "note.answer": (
        "「first k」は探索用プロンプトで順位づけた上位k個のHead、「random k」は乱数で選んだ同数のHead。主要な族: 感情の読み出し、"
        "GoEmotionsの同名ラベル、sentiment_positive、politeness × 集合 × 主要mode。割合は平均の比で、区間は"
        "プロンプトのブートストラップ。promptingの効果の区間が0を含む指標では定義しない。",
        "“first k”: the k heads that the discovery prompts put first; “random k”: as many drawn at random. "
        "The primary family: the emotion's read-outs, its GoEmotions label, sentiment_positive and politeness "
        "x the sets x the primary mode. Shares are ratios of means with bootstrap intervals over prompts, and "
        "are undefined where the interval of prompting's own effect holds 0.",
    ),
    "h.curve": ("いくつのHeadが要るか", "How many heads it takes"),
    "c.curve": (
        "{metric}への効果とHeadの数（mode {mode}、確認用プロンプト{n}個）",
        "The effect on {metric} by the number of heads (mode {mode}, {n} confirmation prompts)",
    ),
    "f.curve": (
        "まとめて置換したHeadの数と効果（{stage}）。帯は同じ数の無作為なHeadの5～95 %",
        "Effect by the number of heads patched together ({stage}); the band is 5 to 95 % of random sets",
    ),
    "where.curve": ("先頭{n}個", "first {n} heads"),
    "curve.n_heads": ("Headの数", "Heads"),
    "curve.random": ("無作為な集合（5～95 %）", "Random sets (5 to 95 %)"),
    "curve.singles": ("単独の効果の和", "Sum of singles"),
    "curve.above": ("帯の上か", "Above the band"),
    "curve.yes": ("はい", "yes"),
    "curve.no": ("いいえ", "no"),
    "curve.what": (
        "探索の順で先頭のHeadをまとめて置換し、テキストを作らずに読み出しを測る。同じ数の無作為なHead（先頭のHeadを含まない）と、"
        "Headを1個ずつ置換した効果の和を並べる。和との差は、Headが互いに働きかけることを表す。",
        "The sweep's first heads are patched together and read without texts, beside random sets of as many "
        "heads (none of them among the first) and the sum of what the heads do one by one; what the two "
        "differ by is what heads do to each other.",
    ),
    "curve.steady": (
        "探索の{n}個のプロンプトを復元抽出すると、{heads}個のHeadの先頭{top}個のJaccard係数は平均{jaccard}"
        "（5～95 %は{interval}）である。安定な選択の目安は{bar}。",
        "With the {n} discovery prompts drawn again with replacement, the first {top} of {heads} heads have a mean "
        "Jaccard index of {jaccard} with those of all prompts (5 to 95 %: {interval}); {bar} is the bar for "
        "a steady choice.",
    ),
    "h.specific": ("ほかの感情との比較", "Beside other emotions"),
    "c.specific": (
        "{emotion}のドナーとほかの感情のドナーの比較（mode {mode}、確認用プロンプト）",
        "The donor of {emotion} beside those of other emotions (mode {mode}, confirmation prompts)",
    ),
    "where.specific": ("{cell}、対{other}", "{cell}, against {other}"),
    "specific.other": ("ほかの感情", "Other emotion"),
    "specific.other_delta": ("その感情の効果", "Its own effect"),
    "specific.delta": ("特異的Δ", "specific Δ"),
    "specific.verdict": ("判定", "Verdict"),
    "specific.what": (
        "中立のドナーを超えるだけでは、まだ{emotion}とは言えない。特異的Δは、{emotion}のドナーでの値からほかの感情の"
        "ドナーでの値を引いたもの（同じプロンプト・同じノイズ）。検定した効果と、すべてのほかの感情に対する特異的Δの符号が一致し、"
        "どのqも水準未満のときだけ「特異的」とする。すべての感情のドナーが同じ向きの有意な効果を持ち、特異的Δがどれも"
        "そうでなければ「どの感情でも」、それ以外は「判定できない」。",
        "More than the neutral donor is not yet {emotion}. The specific Δ is what the donor of {emotion} does "
        "minus what another emotion's donor does, on the same prompts with the same noise. An effect is called "
        "specific only if it and the specific Δ against every other emotion agree in sign, each with q below "
        "the level; any emotion, if the donors of all others have a significant effect of that sign and no "
        "specific Δ does; else undetermined.",
    ),
    "specific.specific": ("{emotion}に特異的", "specific to {emotion}"),
    "specific.any": ("どの感情でも", "any of these emotions"),
    "specific.undetermined": ("判定できない", "undetermined"),
    "specific.none": ("効果なし", "no effect"),
    "specific.nobody": ("なし", "none"),
    "specific.headline": (
        "読み出し{metric}への効果のうち、{others}のドナーと比べて{emotion}に特異的なもの: {specific}。"
        "どの感情のドナーでも起こるもの: {any}。判定できないもの: {undetermined}。",
        "Of the effects on the read-out {metric}, specific to {emotion} beside the donors of {others}: {specific}. "
        "Any of these emotions: {any}. Undetermined: {undetermined}.",
    ),
    "screen.chosen": (
        "探索では、{heads}個のHeadの{metric}への効果を勾配から見積もり、その上位{n}個だけを実際に置換した。",
        "Of {heads} heads, whose effects on {metric} were estimated from a gradient, the sweep patched the first {n}.",
    ),
    "screen.agreement": (
        "これらでの見積もりと測定の順位相関はρ = {rho}である。",
        "On these, estimate and measurement have a rank correlation of ρ = {rho}.",
    ),
    "screen.drawn": (
        "選ばれなかったHeadから無作為に選んで置換した{n}個の効果は、絶対値で最大{largest} natである"
        "（信頼水準{level}で、これより大きいものは残りに多くとも{k}個）。",
        "Of the others, {n} were drawn at random and patched: their largest absolute effect is {largest} nats, and "
        "with a confidence of {level} at most {k} of the rest have a larger one.",
    ),
    "screen.missed": (
        "無作為な半分ずつの同時置換によれば、選ばれなかったHeadの効果は絶対値で{bound} nat以下である"
        "（信頼水準{level}、効果が加算的である限り）。",
        "By random halves of them patched together, no head that was not chosen has an absolute effect above {bound} "
        "nats (confidence {level}, as far as effects add up).",
    ),
    "trust.split_half": (
        "{heads}個の全Headの{metric}への効果（1次近似）の順位相関は、探索用と確認用のプロンプトの間でρ = {rho}である。",
        "Over all {heads} heads, the effects on {metric} (predicted to first order) on discovery and on "
        "confirmation prompts have a rank correlation of ρ = {rho}.",
    ),
    "trust.kept": (
        "探索で選んだ上位Headは、確認用プロンプトでその大きさの{kept}倍を保つ。",
        "The heads that the sweep chose keep {kept} of their size on the confirmation prompts.",
    ),
    "trust.predicted": (
        "実際に置換した{n}個の単独Headでは、予測と測定の相関はr = {r}である。",
        "On the {n} single heads that were really patched, prediction and measurement have a correlation of "
        "r = {r}.",
    ),
    "trust.checked": (
        "無作為に選んで探索用プロンプトで置換した{n}個のHeadでは、予測と測定の相関はr = {r}である。",
        "On {n} heads drawn at random and patched on the discovery prompts it is r = {r}.",
    ),
    "trust.on_text": (
        "確認した{n}個の単独Headでは、読み出しでの効果と{metric}への効果の順位相関はρ = {rho}である。",
        "Over the {n} single heads of the confirmation, the effects on the read-out and on {metric} have a "
        "rank correlation of ρ = {rho}.",
    ),
    "readouts.donors": (
        "net Δの検定は、プロンプトについての検定と、ドナーの対（同じ番号の感情プロンプトと中立プロンプト）についての"
        "検定の両方で成り立つことを求め、大きい方のpを用いる。",
        "The p of a net Δ is the larger one of two tests: over the patched prompts, and over the donor pairs "
        "(the emotion prompt and the neutral prompt of one index, either of which might have been the "
        "emotion's).",
    ),
    "readouts.recipients": (
        "検定はプロンプトについてのもので、感情プロンプトの選び方による変動は含まない。",
        "The tests are over the patched prompts: how the choice of emotion prompts would change the numbers "
        "is not in these p.",
    ),
}
