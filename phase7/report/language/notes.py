"""Introductions and the notes under tables: key -> (Japanese, English)."""

NOTES: dict[str, tuple[str, str]] = {
    "purpose": (
        "感情プロンプト（{emotions}）を処理したときのAttention Headの活性を、中立プロンプトから文章を"
        "生成している最中の同じHeadへ移植し、生成されるテキストがどう変わるかを測る。対象モデルは{models}"
        "である。",
        "Take the activations of attention heads from runs on emotion prompts ({emotions}), transplant "
        "them into the same heads while the model writes from neutral prompts, and measure how the "
        "text changes. Models: {models}.",
    ),
    "purpose.control": (
        "Headの活性を置き換えれば、感情とは無関係にテキストは変わり得る。そこでその感情に特化しないdonorによる"
        "対照（control）を同じ条件で実行し、それを差し引いた正味の効果 net Δ = Δ − control Δ で判断する。",
        "Replacing a head's activations can change a text for reasons that have nothing to do with "
        "emotion. A control donor that is not specific to it therefore runs beside it, and effects are "
        "judged net of it: net Δ = Δ − control Δ.",
    ),
    "purpose.no_control": (
        "**この実行には対照（control）がない。** 以下の有意性はΔそのものに関するもので、Headを置き換えること"
        "自体の影響と感情の影響を区別できない。",
        "**This run has no control.** Significance below is that of Δ itself: it cannot tell the effect "
        "of the emotion from the effect of replacing the head at all.",
    ),
    "headline": ("**結論**（{group}）: {text}", "**Result** ({group}): {text}"),
    "summary": (
        "数値は対象Head（主mode）の{effect}。* は q < {alpha}。",
        "Numbers are the {effect} of the target heads in the primary mode; * marks q < {alpha}.",
    ),
    # how to read
    "read.delta": (
        "**Δ** = patched − baseline（感情donor）、**control Δ** = 同じHeadをcontrol donorで置き換えたとき"
        "の差、**net Δ** = Δ − control Δ（プロンプトごとに対応のある差）。正の値は指標の上昇を表す。",
        "**Δ** = patched − baseline with the emotion donor, **control Δ** = the same with the control "
        "donor, **net Δ** = Δ − control Δ, paired by prompt. Positive: the metric went up.",
    ),
    "read.metrics": (
        "「sentiment」は指標`sentiment_positive`を指す。感情を表す指標は、{own}。"
        "`*_keywords`は語の出現数、それ以外は0〜1の値である。",
        "“sentiment” means the metric `sentiment_positive`. The metric that stands for the emotion: {own}."
        " `*_keywords` are counts of words; all others lie in [0, 1].",
    ),
    "read.statistics": (
        "単位はプロンプト。**p**は符号反転による両側並べ替え検定（帰無仮説は両条件の交換可能性。差が0のプロンプトは除き、残りが"
        "20件までは全ての反転を数える）、95 %区間はその検定が棄却しない値の全体で、pと食い違うことはない。**q**は族ごとの"
        "Benjamini–Hochberg補正で、有意としたもののうちの誤りの割合の期待値を抑える。実行前に宣言した**主要な族**には、一つでも"
        "誤る確率を抑える**調整したp**（step-down minP、Westfall & Young 1993）も示す。それ以外は探索的な族で、テキストと"
        "読み出しは別の族。そこでは二段階（まずどのセルに効果があるか、次に選ばれたセルの中のどの検定か、Benjamini & Bogomolov "
        "2014）で補正する。**d_z**は平均差÷標準偏差。**\\*** は q（または調整したp）< 有意水準（丸める前の値で判定）。",
        "The unit is the prompt. **p** is a two-sided sign-flip permutation test (its null: the two arms are "
        "exchangeable; prompts with a difference of 0 drop out, and with up to 20 others all flips count); a "
        "95 % interval holds all values which that test does not reject, so the two never disagree. **q** is "
        "Benjamini–Hochberg adjusted within a family and controls the expected share of false ones among what "
        "is called significant. Tests of the **primary family**, declared before the run, also have an "
        "**adjusted p** (step-down minP, Westfall & Young 1993), which controls the probability of any false "
        "one. All others are exploratory, texts and read-outs apart, and corrected in two steps: which cells "
        "have any effect, then which tests of these (Benjamini & Bogomolov 2014). **d_z** is the mean difference over its "
        "standard deviation. **\\*** marks q (or adjusted p) below the level, judged before rounding.",
    ),
    "read.rounding": (
        "`+0.000`と`−0.000`は丸めると0になる非零の値、`0.000`は0である。",
        "`+0.000` and `−0.000` are numbers that round to 0; `0.000` is 0.",
    ),
    "read.own": ("{emotion}では{metric}", "{metric} for {emotion}"),
    "read.own.fallback": (
        "{emotion}では{metric}（GoEmotionsのラベルが未測定のため）",
        "{metric} for {emotion} (its GoEmotions label was not measured)",
    ),
    "read.missing": (
        "「未測定」はスコアラーがない指標、「検定不可」はプロンプトが2件未満、または差が0でないものが少なすぎて、符号がどうで"
        "あっても有意になり得ないもの（どの族にも入らない）、「未実施」は"
        "実行していないセルで、いずれも0を意味しない。",
        "“not measured”: no scorer for the metric. “no test”: fewer than two prompts, or so few whose difference "
        "is not 0 that no signs could make the test significant (it is in no family). “not run”: a cell that "
        "was not tested. None of them means 0.",
    ),
    "read.heads": (
        "Headは`layer:head`と書き、どちらも0から数える。「セル」は（Headの組, mode）の1通り。",
        "Heads are written `layer:head`, both counted from 0. A “cell” is one pair of heads and mode.",
    ),
    "read.modes": (
        "mode `result`はdonorのHead出力を書き込む。`v_only`は受け手のattentionを保ちdonorのvalueを使う。"
        "`pattern_v`はdonorのattentionとdonorのvalueを使う。",
        "Mode `result` writes the donor's head output; `v_only` keeps the recipient's attention over the "
        "donor's values; `pattern_v` takes the donor's attention over the donor's values.",
    ),
    "read.split": (
        "プロンプトは探索用と確認用に分かれている。探索でHeadを選び、確認で検定する。特に断らない数値はすべて"
        "確認用プロンプトのものである。",
        "Prompts are split: heads are searched on the discovery prompts and tested on the confirmation "
        "prompts. Numbers come from the confirmation prompts unless they are labelled otherwise.",
    ),
    "read.looks": (
        "確認は{looks}件のプロンプトの時点で見る計画で、{n}件で止まった。この時点の検定には有意水準の{share} %が割り当てられており、"
        "p、q、調整したpはその割合で割り、区間は残る信頼度で作ってある。どの時点で止まっても、そのまま水準と比べてよい。早く"
        "止まった実行の平均効果は大きめに出やすい。",
        "The confirmation was to be looked at after {looks} prompts, and stopped at {n}. {share} % of the level "
        "belong to that look: p, q and adjusted p are divided by this share, and intervals have the confidence "
        "that it leaves, so all are compared with the whole level wherever a run stops. Mean effects of a run "
        "that stopped early tend to be too large.",
    ),
    "read.overlap": (
        "**注意: 探索用と確認用のプロンプトが重なっている。** 選ばれたHeadの数値は過大になり得る。",
        "**Caution: discovery and confirmation prompts overlap.** Numbers of selected heads may be "
        "too large.",
    ),
    "read.figures": (
        "図中の文字は英語である。図はベクター版（SVG）にリンクしている。",
        "Figures link to their vector version (SVG).",
    ),
    "read.figures.html": (
        "図中の文字は英語である。ヒートマップのマスや区間の行にポインターを合わせる（またはタップする）と、"
        "その数値が表示される。",
        "Point at, or tap, a cell of a heatmap or a row of intervals to see its numbers.",
    ),
    # section introductions and notes
    "cell": (
        "対象Head {label}、mode `{mode}`、{stage}。",
        "Target heads {label}, mode `{mode}`, {stage}.",
    ),
    "not_joint": (
        "対象Head全体の組は実行されていないため、{label}の数値を示す。",
        "The target heads were not run together; these are the numbers of {label}.",
    ),
    "no_target": (
        "対象Headのセルは実行されていない。",
        "No cell of the target heads was run.",
    ),
    "comparison.count": (
        "測定した{n}指標のうち、{effect}が有意（q < {alpha}）なのは{k}指標: {names}。",
        "Of {n} measured metrics, the {effect} is significant (q < {alpha}) for {k}: {names}.",
    ),
    "comparison.none": (
        "測定した{n}指標のうち、{effect}が有意（q < {alpha}）なものはない。",
        "Of {n} measured metrics, the {effect} is significant (q < {alpha}) for none.",
    ),
    "comparison.unmeasured": (
        "{total}指標のうち{n}指標は未測定（対応するスコアラーが設定されていない）。",
        "Not measured: {n} of {total} metrics (no scorer is configured for them).",
    ),
    "note.size": (
        "効果の大きさは、q < {alpha} の場合に|d_z|で決める: {small}未満は「無視できる」、{small}以上「小」、"
        "{medium}以上「中」、{large}以上「大」（Cohen 1988）。q ≥ {alpha} は「有意でない」。",
        "Size of effect, where q < {alpha}, by |d_z|: negligible below {small}, small from {small}, medium "
        "from {medium}, large from {large} (Cohen 1988); n.s. where q ≥ {alpha}.",
    ),
    "note.size.best": (
        "この表の「効果の大きさ」は、3指標のうち|d_z|が最大のもの（括弧内）の評価である。",
        "Size of effect in this table is that of the metric with the largest |d_z| (in brackets).",
    ),
    "note.overall": (
        "総合評価は全指標にわたる: q < {alpha} の指標がなければ「なし」。あれば、その中で最大の|d_z|により、"
        "{medium}未満「弱い」、{medium}以上「中程度」、{large}以上かつ有意な指標が{n_strong}個以上なら「強い」。",
        "Overall, over all metrics: none = no metric with q < {alpha}; otherwise by the largest |d_z| "
        "among those: weak below {medium}, moderate from {medium}, strong from {large} if at least "
        "{n_strong} metrics have q < {alpha}.",
    ),
    "note.modes.all": (
        "{n}組のHead（単独・組み合わせ）を全modeで比較した。KLは最初の生成トークンの分布についての値で、"
        "サンプリングの影響を受けない。|d_z|の中央値は効果が全くなくても0にならない。「無作為な符号での」列は、同じ"
        "セルと指標の差の符号をプロンプトごとに無作為に反転したときの値である（反転は全セル・全指標に共通、{flips}回の"
        "中央値、括弧内はその95 %が入る範囲）。",
        "{n} heads and sets compared in all modes. KL is that of the first generated token's "
        "distribution and free of sampling. The median |d_z| is not 0 without any effect: the column with "
        "random signs has it for the same cells and metrics after flipping the signs of whole prompts at "
        "random (a flip is shared by all cells and metrics; the median of {flips} flips, in brackets the "
        "range of 95 % of them).",
    ),
    "note.apart": (
        "「感情donorとcontrolで異なるテキスト」は、感情donorのテキストがcontrol donorのテキストと異なる（セル, "
        "プロンプト）の組の割合である。net Δが0でなくなり得るのは、これらの組だけである。",
        "“Emotion's text differs from control's” is the share of pairs of a cell and a prompt whose text under the "
        "emotion donor differs from that under the control donor: only in these can the net Δ be other than 0.",
    ),
    "heads.none": ("単独のHeadは検証していない。", "No single head was tested."),
    "heads.no_hits": (
        "q < {alpha} の効果は一つもない。",
        "No effect has q < {alpha}.",
    ),
    "heads.cut": (
        "{n}件中、上位{shown}件を示す。残りはeffects storeにある。",
        "The first {shown} of {n}; the others are in the effects store.",
    ),
    "sets.none": ("Headの組み合わせは検証していない。", "No head combination was tested."),
    "note.sets": (
        "相乗効果 = 組の{effect} − 単独の{effect}の和（プロンプトごとに対応あり）。正なら和より大きい。判定はqによる（qは表に"
        "ない指標も含む全ての行で補正し、テキストと読み出しは別の族）: 「Yes」は q < {alpha}、「No」は相乗効果のpが{alpha}"
        "以上で、同等性検定のqが「無視できるほど小さい」ことを支持する場合のみ。組にも単独のHeadにも有意な効果がなければ"
        "「効果なし」とし、それ以外は「判定不能」。テキストは一つのトークンの変化で大きく変わるため、まず読み出しの行を見よ。",
        "Synergy = {effect} of the set − sum of the {effect} of its heads, paired by prompt; positive: more "
        "than the sum. Verdicts go by q, which corrects over all rows, those of metrics that are not in the "
        "table included, texts and read-outs apart: Yes where q < {alpha}; No only where the p of synergy is "
        "not below {alpha} and the q of the equivalence test supports that it is negligible; “no effect” where "
        "neither the set nor a head of it has a significant effect; else undetermined. A text jumps with a "
        "single token, so read the rows of read-outs first.",
    ),
    "note.power": (
        "「単独で有意になり得る」: その検定の最小のp × 族の検定数（探索的な族ではそのセルの検定数 × セル数）< {alpha}。「すべてが最小のpなら」: 族の全検定が最小のpに"
        "達したときにq < {alpha}となるもの。検出できる大きさは80 %の検定力で、そのセルで測ったばらつきから（n = {n}）: 1検定の"
        "水準{alpha}と、それを族の検定数で割った水準。|d_z|の中央値の右は、プロンプトの符号を無作為に反転したとき（{flips}回"
        "の中央値と95 %の範囲）。",
        "“Could survive alone”: the smallest p of the test, times the number of tests in its family (in an "
        "exploratory family: of its cell's tests, times the cells), is below {alpha}. “If all were at their floor”: q < {alpha} if every test of the family reached its smallest p. "
        "What would have been found has a power of 80 %, by the spread measured in that cell (n = {n}): in one "
        "test at the level {alpha}, and at that level over the number of tests in the family. Beside the median "
        "|d_z| stands what random signs of whole prompts give (median of {flips} flips, and the range of 95 %).",
    ),
    "sweep.none": (
        "探索（全Headのsweep）は行っていない。",
        "There was no sweep.",
    ),
    "sweep.no_strongest": (
        "探索は{n}個のHeadに対して行ったが、確認に進めるHeadは選んでいない。",
        "{n} heads were swept, but none was selected for the confirmation.",
    ),
    "readouts.what": (
        "読み出し{metrics}は、パッチなしの続きのトークン列を全ての条件にたどらせ、その各位置でのモデルの分布から計算する。"
        "`logodds`は語の集合の対数オッズ、`kl_path`はbaselineからの乖離（方向を持たない）、末尾の`_first`は最初の"
        "1トークンだけの値である。サンプリングを含まず、単位はnatである。",
        "Read-outs ({metrics}) come from the model's distribution at every token of the unpatched "
        "continuation, which all arms are made to follow: `logodds` is the log-odds of a set of words, "
        "`kl_path` the divergence from the baseline (it has no direction), and `_first` the value at the "
        "first token alone. No sampling enters them; their unit is the nat.",
    ),
    "readouts.count": (
        "読み出しの{tests}検定中{n}検定がq < {alpha}である（テキストの指標とは別の族）。",
        "Of {tests} tests of read-outs, {n} have q < {alpha}; they are a family apart from the metrics of text.",
    ),
    "note.sweep": (
        "「探索」の列は**探索用プロンプト**での値で、選択に使ったため過大になりやすい。証拠とするのは「確認」の"
        "列である。選択規則: {rule}。",
        "“discovery” columns are from the **discovery prompts**, were used to select, and tend to be too "
        "large; evidence is in the “confirmation” columns. Selection rule: {rule}.",
    ),
    "sweep.floor": ("探索用プロンプトの検定力: {text}", "Power of the discovery: {text}"),
    "note.sweep.length": (
        "探索の生成長は{short}トークン、確認は{long}トークンであり、両者の値は厳密には比較できない。",
        "The sweep generated {short} tokens and the confirmation {long}, so the two are not strictly "
        "comparable.",
    ),
    "note.sweep.readouts": (
        "探索ではテキストを生成せず、読み出しだけで順位づけた。表は{metric}の値（nat）である。",
        "The sweep generated no text and ranked the heads by read-outs alone; the table has {metric}, in nats.",
    ),
    "note.sweep.halving": (
        "探索は{rounds}回に分け、そのたびに弱い半分のHeadを落とした。最後のプロンプトまで読んだのは{heads} Headで、どのHeadを残すかを"
        "同じ数値で決めたため、探索の値は検定していない。",
        "The sweep ran in {rounds} rounds, each with the stronger half of the heads of the one before; {heads} heads "
        "had all prompts. As the same numbers decided which, none of the sweep's is tested.",
    ),
    "texts.rule": (
        "表の選び方: テキストが変わったプロンプトのうち、{metric}の|patched − baseline|が大きい順に最大{n}件、続いて"
        "テキストが変わらなかったプロンプトの先頭{m}件。同順位は番号の小さいものを先にする。"
        "<b>▶</b>はbaselineと最初に異なる箇所、↵は改行。",
        "Chosen by rule: of the prompts whose text changed, the {n} with the largest |patched − baseline| "
        "in {metric}; then the first {m} of those with an unchanged text. Ties go to the lower number. "
        "<b>▶</b> marks the first difference from the baseline, ↵ a line break.",
    ),
    "texts.count": (
        "{total}テキスト中{changed}テキストがbaselineと異なる。異なるテキストがbaselineと一致する先頭部分は、"
        "中央値で{prefix}文字である。",
        "{changed} of {total} texts differ from their baseline; those that do share a median of {prefix} "
        "leading characters with it.",
    ),
    "texts.count.none": (
        "{total}テキストのうち、baselineと異なるものはない。",
        "None of the {total} texts differs from its baseline.",
    ),
    "texts.unchanged": ("（baselineと同一）", "(same as the baseline)"),
    "texts.empty": ("（空）", "(empty)"),
    "texts.cut": ("…（全{n}文字）", "… ({n} characters in all)"),
    "texts.none": ("テキストは保存されていない。", "No texts are stored."),
    "texts.all": (
        "すべてのテキスト（Headとmodeごと、各プロンプトの最初のサンプル。クリックで開く）",
        "All texts, by heads and mode, of each prompt the first sample that differs, else the first. Click to open.",
    ),
    "texts.left_out": (
        "ほかに{n}組のテキストは、ページが大きくなりすぎるため載せていない。`texts()`で見られる。",
        "Texts of {n} more heads and modes would make the page too large; `texts()` shows them.",
    ),
    "texts.drawer": ("{label}、{mode}（{n}プロンプト）", "{label}, {mode} ({n} prompts)"),
    "texts.drawer.swept": (
        "探索：{label}、{mode}（{n}プロンプト）",
        "sweep: {label}, {mode} ({n} prompts)",
    ),
    "texts.prompt": (
        "プロンプト{prompt}、サンプル{sample}",
        "prompt {prompt}, sample {sample}",
    ),
    "lengths.none": ("生成長別の測定はない。", "Lengths were not measured."),
    "note.lengths": (
        "qは生成長ごとのセルすべてを一つの族として二段階で補正した値で、同じセルでも{sections}節のqとは異なる。",
        "q corrects over the cells of all lengths as one family, in two steps, so it differs from the q of the "
        "same cell in sections {sections}.",
    ),
    "note.kl": (
        "KL(baseline ‖ patched)は最初の生成トークンの分布（温度1）に対する値。サンプリング前の量なので、"
        "1トークンのテキストが変わらなくても介入の強さを測れる。",
        "KL(baseline ‖ patched) of the first generated token's distribution at temperature 1. It needs no "
        "sampling and shows the intervention even where the first token stays the same.",
    ),
    "note.ov": (
        "W_U·diag(g)·W_O(z̄_emotion − z̄_neutral)の上位と下位のトークン（括弧内はスコア）。gは最終正規化のゲイン"
        "（LayerNormでは差を先に中心化する）で、その尺度1/σは省いている。直接経路のみの値で、テキストの測定ではない。",
        "Highest and lowest tokens of W_U·diag(g)·W_O(z̄_emotion − z̄_neutral), scores in brackets; g is the "
        "gain of the final normalisation (for a LayerNorm the change is centred first), and its scale 1/σ is "
        "left out. The direct path only: a lead, not a measurement of the text.",
    ),
    "note.ov.tokens": (
        "トークンは語彙の要素で、語全体（前の空白を含む）のほか、語の断片（サブワード）や固有名もある。断片はそれだけでは語をなさず、"
        "いくつもの語の一部になる。語彙は数万あるため、まれな語や不快な語が偶然に上位へ来ることもある。"
        "手がかりになるのは複数のトークンに共通する主題であり、一つのトークンではない。ここにあるトークンは生成されたものではない。",
        "A token is an entry of the tokenizer's vocabulary: a whole word with the space before it, a name, or a "
        "fragment (subword) that is no word by itself and part of many. Of tens of thousands of entries some come "
        "first or last by chance, rare and unpleasant words among them: a theme that several tokens share is a lead, "
        "a single token is not. Nothing in this table was generated.",
    ),
    "note.ov.words": (
        "「感情語のz」は、{emotion}の語（1トークンになる語形）についてのこの値の平均から全語彙の平均を引いたものを、"
        "モデルの全{n} Headの平均と標準偏差で標準化した値、「感情語の順位」はその中での順位（1が最大）である。",
        "The z of the emotion's words is the mean of this over the words of {emotion} (every form that is one "
        "token) less its mean over the vocabulary, standardised by mean and standard deviation over all "
        "{n} heads of the model; the rank is among these, 1 being the highest.",
    ),
    "note.circuit": (
        "「次に調べる回路」の規則: `v_only`だけで有意ならOV（valueが効果を運ぶ）。`v_only`では有意でなく"
        "`pattern_v`で有意ならQK（donorのattentionが必要）。`result`のみ有意なら出力全体。有意でないことは効果が"
        "ないことの証明ではない。",
        "“Circuit to look at”: OV where `v_only` alone is significant (values carry the effect); QK where "
        "`v_only` is not but `pattern_v` is (the donor's attention is needed); whole output where only "
        "`result` is. Not being significant does not prove absence.",
    ),
    "discussion.trace": (
        "以下の文はすべて上の表から計算したもので、括弧内の表と行で確かめられる。",
        "Every sentence below is computed from the tables above; the brackets say where.",
    ),
    "note.family": (
        "検定の族（プロファイルの宣言）: {family}。族に入る確認の検定数は{tests}（{group}）。",
        "Families of tests as the profile declares them: {family}. Tests of the confirmation in a family: "
        "{tests} ({group}).",
    ),
    "no_provenance": ("実行の記録がない。", "There is no record of the run."),
}
