"""Sentences that state a result: key -> (Japanese, English). Their numbers all come as values."""

SENTENCES: dict[str, tuple[str, str]] = {
    "sig.none": (
        "確認した{cells}セル・{tests}検定のうち、{effect}が有意（q < {alpha}）なものは一つもなかった。最小のqは"
        "{q}である（{where}、{p}）。したがって、この実験からは、いずれかのHeadが{emotion}を生成テキストへ運ぶと"
        "いう因果的証拠は得られない。",
        "None of the {tests} tests on {cells} confirmed cells has a significant {effect} (q < {alpha}); the "
        "smallest q is {q} ({where}, {p}). This run therefore gives no causal evidence that any "
        "head carries {emotion} into the text.",
    ),
    "readouts.none": (
        "読み出し{metric}では、{n}個の単独Headのセルのいずれにも有意な効果（q < {alpha}）がない。",
        "On the read-out {metric} none of {n} cells of single heads has a significant effect (q < {alpha}).",
    ),
    "sig.primary": (
        "実行前に宣言した主要な族（{n}検定）では、調整したpが{alpha}を下回る{effect}は{k}検定である（族全体で一つでも誤る"
        "確率を{alpha}以下に抑える）。",
        "Of the {n} tests of the primary family, declared before the run, {k} have an adjusted p of the {effect} "
        "below {alpha} (the probability of any false one among them is at most {alpha}).",
    ),
    "sig.untested": (
        "検定できるセルがないため、Headの重要性については何も言えない。",
        "No cell could be tested, so nothing can be said about the heads.",
    ),
    "sig.some": (
        "確認した{cells}セル・{tests}検定のうち{n}検定で{effect}が有意だった（q < {alpha}）。|d_z|が最大なのは{where}で、"
        "{effect} = {value}（95 %区間{interval}、{q}、d_z = {d_z}）である。",
        "Of {tests} tests on {cells} confirmed cells, {n} have a significant {effect} (q < {alpha}). The "
        "largest |d_z| is that of {where}: {effect} = {value}, 95 % interval {interval}, {q}, "
        "d_z = {d_z}.",
    ),
    "sig.heads": (
        "少なくとも1指標で{effect}が有意な単独Headは{heads}であり、これらの置換がテキストを動かすことの因果的証拠となる"
        "（有意とした検定のうち誤りの割合の期待値は{alpha}以下）。",
        "Single heads with a significant {effect} on at least one metric: {heads}. Replacing them moves the "
        "text, which is causal evidence; of the tests called significant at most {alpha} are expected "
        "to be false.",
    ),
    "sig.no_heads": (
        "有意な効果は組み合わせにのみあり、単独で有意なHeadはなかった。",
        "Only combinations are significant; no single head is.",
    ),
    "sig.random": (
        "無作為に選んだHead {heads}のうち、有意な効果を持つものは{n}個だった。",
        "Of the heads drawn at random ({heads}), {n} have a significant effect.",
    ),
    "floor.blocked": (
        "n = {n}プロンプトのうち差が0でないものが{needed}件以上ある検定がなく、どの検定もp < {alpha}になり得ない。",
        "No test has the {needed} prompts of a non-zero difference, of {n}, that a p below {alpha} takes: none "
        "could have been significant.",
    ),
    "floor.reach": (
        "{tests}検定のうち、他の検定の結果によらず単独でq < {alpha}に達し得るのは{alone}検定、すべての検定が同時にその"
        "最小のpに達すれば有意になり得るのは{together}検定である（到達できる最小のpは{p}。差が0のプロンプトは符号反転で情報を"
        "持たず、0でない差がk件なら2/2^kが下限となる）。",
        "Of {tests} tests {alone} could reach q < {alpha} whatever the others say, and {together} if all of them "
        "reached their smallest p together (the smallest of these is {p}: a prompt whose difference is 0 tells a "
        "sign flip nothing, and with k others p is at least 2/2^k).",
    ),
    "floor.left": (
        "このほか{left}検定は、0でない差が{needed}件に満たず、符号がどうであってもp < {alpha}になり得ないため、どの族にも"
        "入れていない。",
        "Another {left} tests have fewer than {needed} differences that are not 0, so that no signs could bring p "
        "below {alpha}; they are in no family.",
    ),
    "floor.untestable": (
        "n = {n}プロンプトでは検定できない（2件以上が必要）。",
        "With n = {n} prompts nothing can be tested (that takes 2).",
    ),
    "target.yes": (
        "対象Head {label}（mode `{mode}`）は{metric}を有意に{direction}: {numbers}。",
        "The target heads {label} (mode `{mode}`) significantly {direction} {metric}: {numbers}.",
    ),
    "target.no": (
        "対象Head {label}（mode `{mode}`）の{metric}への効果は有意でない: {numbers}。{differ}",
        "The effect of the target heads {label} (mode `{mode}`) on {metric} is not significant: {numbers}. "
        "{differ}",
    ),
    "differ.net": (
        "感情donorでのスコアがcontrol donorでのスコアと異なるプロンプトは{n}件中{k}件である。",
        "The score with the emotion donor differs from that with the control donor in {k} of {n} prompts.",
    ),
    "differ.plain": (
        "スコアがbaselineと異なるプロンプトは{n}件中{k}件である。",
        "The score differs from the baseline's in {k} of {n} prompts.",
    ),
    "target.untested": (
        "対象Head {label}（mode `{mode}`）の{metric}への効果は検定できない: Δ = {delta}。",
        "The effect of the target heads {label} (mode `{mode}`) on {metric} cannot be tested: Δ = {delta}.",
    ),
    "target.unmeasured": (
        "{metric}は未測定のため、何も言えない。",
        "{metric} was not measured, so nothing can be said about it.",
    ),
    "direction.up": ("上昇させた", "raise"),
    "direction.down": ("低下させた", "lower"),
    "numbers.net": (
        "Δ = {delta}、control Δ = {control}、net Δ = {net}（95 %区間{interval}、{p}、{q}）",
        "Δ = {delta}, control Δ = {control}, net Δ = {net} (95 % interval {interval}, {p}, {q})",
    ),
    "numbers.plain": (
        "Δ = {delta}（95 %区間{interval}、{p}、{q}）",
        "Δ = {delta} (95 % interval {interval}, {p}, {q})",
    ),
    "where": ("{label}、mode `{mode}`、{metric}", "{label}, mode `{mode}`, {metric}"),
    "replication": (
        "探索で選んだ{heads}個のHeadでは、探索と確認の{effect}の符号が（Head × 指標）の{pairs}組中{same}組で一致し、確認での平均|{effect}|"
        "は探索の{ratio}倍だった。",
        "For the {heads} heads that the sweep selected, the sign of the {effect} agrees between discovery and "
        "confirmation in {same} of {pairs} pairs of head and metric, and the mean |{effect}| of the confirmation is {ratio} "
        "times that of the discovery.",
    ),
    "mode.single": (
        "実施したmodeは`{mode}`のみで、mode間の比較はできない。",
        "Only mode `{mode}` was run, so modes cannot be compared.",
    ),
    "mode.incomparable": (
        "すべてのmodeで検証したHeadがなく、mode間の比較はできない。",
        "No head was tested in every mode, so modes cannot be compared.",
    ),
    "mode.none": (
        "どのmodeにも有意な効果がないため、有意性でmodeに順位をつけることはできない。|d_z|の中央値が最大なのは`{mode}`"
        "（{size}、無作為な符号では{chance}）だが、記述的な比較にとどまる。",
        "No mode has a significant effect, so significance cannot rank them. The largest median |d_z| is "
        "that of `{mode}` ({size}; with random signs {chance}), a descriptive comparison only.",
    ),
    "mode.best": (
        "有意な検定が最も多いmodeは`{mode}`である（{counts}）。mode間の差そのものは検定していない。",
        "The mode with most significant tests is `{mode}` ({counts}). The difference between modes is "
        "itself not tested.",
    ),
    "mode.tie": (
        "有意な検定の数は{modes}が同数で最多である（{counts}）。",
        "{modes} tie for most significant tests ({counts}).",
    ),
    "mode.kl": (
        "最初のトークンの分布を最も動かすmodeは`{mode}`で、平均KLは{kl} natsである。",
        "The mode that moves the first token's distribution most is `{mode}`: mean KL {kl} nats.",
    ),
    "mode.kl.control": (
        "同じmodeのcontrolのKLは{kl} natsで、感情donorのKLはその{ratio}倍である。",
        "Its control's KL is {kl} nats, so the emotion donor's is {ratio} times as large.",
    ),
    "sets.none.sentence": (
        "組み合わせは検証していないため、相乗効果については何も言えない。",
        "No combination was tested, so nothing can be said about synergy.",
    ),
    "sets.verdicts": (
        "組み合わせの検定は全部で{n}行あり（表にない指標も含む）、判定はqで行う: Yesが{yes}、Noが{no}、判定不能が{open}、"
        "組にも単独のHeadにも有意な効果（q < {alpha}）がなく判定しないものが{nothing}である。",
        "Synergy was tested in {n} rows, those not in the table included, and is judged by q: {yes} say Yes, "
        "{no} No, {open} undetermined; in {nothing} neither the set nor a head of it has a significant effect "
        "(q < {alpha}), so there is nothing to judge.",
    ),
    "sets.power": (
        "{metric}では、{size}以上の相乗効果であれば80 %の確率で検出できた（n = {n}、1検定、組についての中央値）。",
        "On {metric} a synergy of {size} would have been found with a power of 80 % (n = {n}, one test, median "
        "over sets).",
    ),
    "sets.yes": (
        "{where}では、{kind}の相乗効果が認められる: {value}（95 %区間{interval}、{p}、{q}）。",
        "There is {kind} synergy in {where}: {value} (95 % interval {interval}, {p}, {q}).",
    ),
    "sets.positive": ("正", "positive"),
    "sets.negative": ("負", "negative"),
    "sets.open": (
        "判定不能は「相乗効果がない」ことを意味しない。",
        "Undetermined does not mean that there is no synergy.",
    ),
    "length.growth": (
        "生成長を{first}から{last}トークンに伸ばすと、変化したテキストは{changed1}から{changed2}に、有意な検定は{n1}件から"
        "{n2}件になった（いずれも{tests}検定中）。",
        "From {first} to {last} tokens, texts changed rise from {changed1} to {changed2} and significant tests "
        "go from {n1} to {n2} (of {tests} each).",
    ),
    "length.few_texts": (
        "短い生成で検出が少ない理由: {first}トークンではまだ{changed1}のテキストしか変わっておらず、全長（{changed2}）の"
        "半分以下である。ノイズを共有しているため、選ばれるトークンが変わるまで差は0のままである。",
        "Why the short one detects less: at {first} tokens only {changed1} of the texts have changed, at most "
        "half of the full length's {changed2}. With shared noise the difference stays 0 until a sampled "
        "token flips.",
    ),
    "length.unseen": (
        "短い生成で検出が少ない理由: {first}トークンで{changed1}のテキストが変わるが、検定の{zero}で効果が0であり、"
        "スコアに現れていない。",
        "Why the short one detects less: at {first} tokens {changed1} of the texts have changed, but in "
        "{zero} of the tests the effect is 0: the scores do not see it.",
    ),
    "length.inconsistent": (
        "短い生成で検出が少ない理由: {first}トークンでもテキスト（{changed1}）とスコアは変わるが、方向がそろわない"
        "（|d_z|の中央値は{size1}、全長では{size2}）。",
        "Why the short one detects less: at {first} tokens texts ({changed1}) and scores do change, but in no "
        "common direction (median |d_z| {size1}, at full length {size2}).",
    ),
    "length.no_gain": (
        "この実験では、{first}トークンでの検出数（{n1}）は全長（{n2}）を下回らず、複数トークンの生成が検出を増やしたとは"
        "言えない。",
        "Here {first} tokens detect {n1} effects, not fewer than the full length's {n2}: generating more did "
        "not add detections.",
    ),
    "length.nothing": (
        "どの生成長でも有意な効果は検出されなかった。",
        "No length detects anything.",
    ),
    "silence.blocked": (
        "プロンプト{prompts}件のうち差が0でないものが少なく、p < {alpha}となり得る検定がないためである。",
        "The reason: of {prompts} prompts so few have a difference that no test could have p < {alpha}.",
    ),
    "silence.few_texts.net": (
        "全長では{changed2}のテキストがbaselineから変わるが、感情donorのテキストがcontrol donorのテキストと異なるのは"
        "（セル, プロンプト）の組の{apart}だけで、残りの組のnet Δは0だからである。",
        "The reason: at full length {changed2} of the texts differ from the baseline's, but only in {apart} of "
        "the pairs of cell and prompt does the emotion donor's text differ from the control donor's; in all "
        "others the net Δ is 0.",
    ),
    "silence.few_texts.plain": (
        "全長でも{changed2}のテキストしか変わらないためである。",
        "The reason: even at full length only {changed2} of the texts change.",
    ),
    "silence.unseen.net": (
        "全長では（セル, プロンプト）の組の{apart}で感情donorのテキストがcontrol donorのテキストと異なるものの、検定の"
        "{zero2}で効果が0であり、スコアに現れていないためである。",
        "The reason: at full length the emotion donor's text differs from the control donor's in {apart} of the "
        "pairs of cell and prompt, but in {zero2} of the tests the effect is 0: the scores do not see it.",
    ),
    "silence.unseen.plain": (
        "全長で{changed2}のテキストが変わるものの、検定の{zero2}で効果が0であり、スコアに現れていないためである。",
        "The reason: at full length {changed2} of the texts change, but in {zero2} of the tests the effect is "
        "0: the scores do not see it.",
    ),
    "silence.inconsistent.net": (
        "全長では（セル, プロンプト）の組の{apart}で感情donorのテキストがcontrol donorのテキストと異なり、スコアも動くが、"
        "どの検定でも、プロンプト間で方向が有意になるほどはそろわないためである。",
        "The reason: at full length the emotion donor's text differs from the control donor's in {apart} of the "
        "pairs of cell and prompt, and most scores do, but in no test do prompts agree on a direction enough.",
    ),
    "silence.inconsistent.plain": (
        "全長で{changed2}のテキストが変わり、スコアも動くが、どの検定でも、プロンプト間で方向が有意になるほどはそろわない"
        "ためである。",
        "The reason: at full length {changed2} of the texts and most scores change, but in no test do prompts "
        "agree on a direction enough.",
    ),
    "length.chance": (
        "|d_z|の中央値は{size2}で、プロンプトの符号を無作為に反転したときは{chance}（反転の95 %の範囲）である。",
        "The median |d_z| is {size2}; with random signs of whole prompts it is {chance} (range of 95 % of the "
        "flips).",
    ),
    "length.untested": (
        "プロンプトが少なく、どの生成長でも検定できない。",
        "There are too few prompts to test at any length.",
    ),
    "length.kl": (
        "最初のトークンの分布には、平均{kl} natsの変化がある（確認した全セルの平均）。",
        "The first token's distribution moves by {kl} nats on average over all confirmed cells.",
    ),
    "length.kl.control": (
        "controlでは{kl} natsである。",
        "The control moves it by {kl} nats.",
    ),
    "circuit.some": (
        "{heads}: {reading}。",
        "{heads}: {reading}.",
    ),
    "reading.ov": (
        "`v_only`だけで有意であり、まずOV回路（valueと出力の経路）を調べるのがよい",
        "significant with `v_only` alone, so look at the OV circuit (values and output) first",
    ),
    "reading.qk": (
        "`v_only`では有意でなく`pattern_v`で有意であり、QK回路（どこに注意を向けるか）を調べるのがよい",
        "significant with `pattern_v` but not with `v_only`, so look at the QK circuit (where it attends)",
    ),
    "reading.fixed": (
        "`result`でのみ有意であり、attentionとvalueの平均からは効果を再構成できていない",
        "significant only as `result`: averages of attention and values do not rebuild the effect",
    ),
    "reading.unknown": (
        "有意な効果があるが、`v_only`と`pattern_v`の両方を実施していないため、OVとQKを区別できない",
        "significant, but `v_only` and `pattern_v` were not both run, so OV and QK cannot be told apart",
    ),
    "circuit.no_basis": (
        "対象Headと上位Headにテキストへの有意な効果がないため、modeの比較からはOVとQKのどちらを優先すべきかについて根拠は得られない。",
        "No target or selected head has a significant effect on the text, so comparing the modes gives no basis to "
        "prefer OV or QK.",
    ),
    "circuit.words": (
        "表のHeadのうち、{emotion}の語を直接最も強めるのは{label}である（z = {z}、モデルの全Headの中での順位{rank}）。",
        "Of the heads in the table, {label} raises the words of {emotion} most: z = {z}, rank {rank} among all heads "
        "of the model.",
    ),
    "circuit.tokens": (
        "{label}の感情成分が直接最も強めるトークンは{up}、最も弱めるトークンは{down}である。",
        "What {label} writes for the emotion raises {up} most and lowers {down} most.",
    ),
    "circuit.no_ov": (
        "OVトークンは計算されていない。",
        "No OV tokens were computed.",
    ),
    "limit.n": (
        "確認に用いたのは{n}件のプロンプト（1件あたり{samples}サンプル）である。結論は、これらと同種のプロンプトと"
        "乱数シード{seed}の範囲に限られる。",
        "The confirmation rests on {n} prompts (samples per prompt: {samples}); conclusions hold for "
        "prompts like these and for seed {seed}.",
    ),
    "limit.unmeasured": (
        "{total}指標のうち{n}指標は未測定であり、それらについては何も言えない。",
        "{n} of {total} metrics were not measured; nothing is known about them.",
    ),
    "limit.control": (
        "controlがないため、有意なΔも感情によるものとは言えない。",
        "Without a control, a significant Δ need not come from the emotion.",
    ),
}
