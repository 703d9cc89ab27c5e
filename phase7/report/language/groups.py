"""The comparison of models and emotions: key -> (Japanese, English)."""

GROUPS: dict[str, tuple[str, str]] = {
    "h.groups": ("モデル間・感情間の比較", "Models and emotions compared"),
    "c.groups": (
        "Headの強さの順位の一致（Spearmanのρ）と共通するHead",
        "Rank agreement of heads by strength (Spearman's ρ), and shared heads",
    ),
    "c.layers": (
        "平均的な効果が最大の層",
        "The layer with the largest mean effect",
    ),
    "groups.intro": (
        "Headの強さ = 検定した効果の絶対値。全Headの探索があればその値（探索用プロンプト）、なければ確認の値を使う。"
        "同じモデルの感情どうしは同じHeadを比べる。モデルが異なれば層数もHead数も違い、Headに対応はないので、"
        "相対的な深さ（L層のうち層lは (l + 0.5) / L）を浅い方のモデルの層数だけの区間に等分し、各区間のHeadの、"
        "そのモデル内での順位の平均を比べる。",
        "A head's strength is the size of its tested effect: from the sweep over all heads where there is one "
        "(discovery prompts), else from the confirmation. Emotions of one model are compared head by head. "
        "Models differ in layers and heads, and their heads do not correspond; they are compared by relative "
        "depth, (l + 0.5) / L for layer l of L, cut into as many equal bins as the shallower model has layers: "
        "by the mean rank, within its model, of each bin's heads.",
    ),
    "groups.nothing": (
        "比較できる指標が測定されていない。",
        "No metric was measured that could be compared.",
    ),
    "groups.pair": ("組", "Pair"),
    "groups.name": ("{one} と {other}", "{one} and {other}"),
    "groups.group": ("モデル × 感情", "Model × emotion"),
    "groups.by": ("比べ方", "Compared by"),
    "groups.by.head": ("同じHead", "head"),
    "groups.by.depth": ("相対的な深さ", "depth"),
    "groups.n": ("数", "n"),
    "groups.rho": ("ρ（{role}）", "ρ ({role})"),
    "role.readout": ("感情の読み出し", "the emotion's read-out"),
    "role.sentiment_positive": ("sentiment", "sentiment"),
    "role.politeness": ("politeness", "politeness"),
    "role.emotion": ("感情の指標", "the emotion's metric"),
    "groups.shared": ("共通する上位Head（感情の指標）", "Strongest heads shared (the emotion's metric)"),
    "groups.overlap": ("{k} / {n}（偶然なら{expected}）", "{k} of {n} ({expected} by chance)"),
    "groups.none": ("–", "–"),
    "groups.both": ("両方で有意なHead", "Significant in both"),
    "groups.peak": ("層{layer}（深さ{depth}）: {size}", "layer {layer} (depth {depth}): {size}"),
    "groups.unmoved": ("全て0", "all 0"),
    "note.groups": (
        "数 = 比べたHeadまたは深さの区間の数。* は、この表の全検定でBH補正した並べ替え検定（2つ目の組のHeadの値を"
        "入れ替える）で q < 有意水準。上位Headは最大{n}個（Head数の1/{share}まで）。「両方で有意」は確認用プロンプトで"
        "同じ向きに有意な、同じHead（モデル間では同じ深さの区間にあるHead）。**同じモデルの組はbaselineとcontrolの"
        "テキストを共有し、多くのテキストを変えるHeadはどの感情でも効果の絶対値が大きくなるので、感情を運ぶHeadが"
        "なくてもρはある程度正になる。**",
        "n counts the heads or depth bins that were compared. * marks q < level of a permutation test (the second "
        "group's heads exchanged among each other), adjusted over all tests of this table. The strongest heads "
        "are at most {n}, and at most 1/{share} of the heads. Significant in both: the same head (between "
        "models: heads of one depth bin) with an effect of one direction on the confirmation prompts. "
        "**Groups of one model share their baseline and control texts, and a head that changes many texts has a "
        "larger effect of either sign for any emotion: ρ is positive to some degree even where no head "
        "carries an emotion.**",
    ),
    "note.layers": (
        "層のHeadの効果の絶対値の平均（単位は指標のもの）。",
        "Mean size of the effects of a layer's heads, in the metric's unit.",
    ),
    "groups.count": (
        "順位の一致の検定{n}件のうち、q < {alpha} は{k}件。",
        "Of {n} tests of rank agreement, {k} have q < {alpha}.",
    ),
    "groups.most": (
        "一致が最も高いのは{pair}の{role}で、ρ = {rho}（{q}）。",
        "Agreement is highest for {pair} on {role}: ρ = {rho} ({q}).",
    ),
    "groups.some": (
        "{total}組のうち{n}組に、両方で同じ向きに有意なHeadがある。",
        "{n} of {total} pairs have heads that are significant in both groups, in one direction.",
    ),
    "groups.no_both": (
        "{total}組のどれにも、両方で同じ向きに有意なHeadはない。",
        "None of the {total} pairs has a head that is significant in both groups, in one direction.",
    ),
    "f.groups": (
        "相対的な深さごとの効果（上）と、Headの順位の一致ρ（下）",
        "Effect by relative depth (above) and rank agreement of heads, ρ (below)",
    ),
}
