"""Methods of one Dataset of an effects store."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd
import xarray as xr

from phase7.findings import comparison, tables
from phase7.findings.pairs import TextPairs, pairs_of
from phase7.vocabulary.errors import UserError

if TYPE_CHECKING:
    from matplotlib.axes import Axes


@xr.register_dataset_accessor("phase7")  # type: ignore[no-untyped-call]
class DatasetAccessor:
    """Methods of one group's Dataset, of its ``sweep`` and of its ``head_sets``.

    Parameters
    ----------
    dataset : xarray.Dataset
        Given by xarray.
    """

    def __init__(self, dataset: xr.Dataset) -> None:
        self._dataset = dataset

    def top_heads(
        self,
        metric: str,
        n: int = 10,
        *,
        mode: str | None = None,
        by: tables.Order = "effect",
    ) -> pd.DataFrame:
        """The heads that move a metric most, with interval, p, q and d_z.

        Parameters
        ----------
        metric : str
            One of the 35 metrics.
        n : int
            Rows at most.
        mode : str, optional
            A patch mode, or ``"all"``; default: the group's primary mode.
        by : {"effect", "effect_size", "q_value"}
            Largest |effect|, largest |d_z|, or smallest q first.

        Returns
        -------
        pandas.DataFrame
            As :func:`phase7.findings.tables.top_heads` describes it.

        Raises
        ------
        UserError
            If the metric or mode is unknown, or the Dataset holds no tests.

        Examples
        --------
        >>> effects = tree["tiny/gratitude"].to_dataset()
        >>> top = effects.phase7.top_heads("sentiment_positive", 2)
        >>> top[["layer", "head", "mode", "significant", "net"]]
           layer  head    mode  significant   net
        0      1     2  result         True  True
        1      3     0  result        False  True
        >>> bool(top.ci_low[0] < top.effect[0] < top.ci_high[0])
        True
        """
        return tables.top_heads(self._dataset, metric, n, mode=mode, by=by)

    def heatmap(
        self,
        metric: str,
        mode: str | None = None,
        *,
        ax: Axes | None = None,
        limit: float | None = None,
    ) -> Axes:
        """Draw the effect of every tested head, layers to the right and heads upwards.

        Colours diverge from 0; a ring marks q below the group's level; hatching means not tested. Of
        what ``measure`` returned, the single heads are drawn.

        Parameters
        ----------
        metric : str
        mode : str, optional
            Default: the primary mode.
        ax : matplotlib.axes.Axes, optional
            Where to draw; default: a new figure of :mod:`matplotlib.pyplot`.
        limit : float, optional
            The effect at the ends of the colour scale. Default: the largest |effect| of this map, so
            give several maps the same limit to compare their colours; a tree's node does so by itself.

        Returns
        -------
        matplotlib.axes.Axes

        Raises
        ------
        UserError
            If the metric or mode is unknown, or nothing was measured.

        Examples
        --------
        >>> axes = tree["tiny/gratitude/sweep"].to_dataset().phase7.heatmap("sentiment_positive")
        >>> axes.get_xlabel(), axes.get_ylabel()
        ('layer', 'head')
        """
        from phase7.plots import draw_heatmap

        return draw_heatmap(self._dataset, metric, mode, ax, limit)

    def compare(
        self,
        other: xr.Dataset,
        metric: str,
        *,
        mode: str | None = None,
        by: comparison.By = "auto",
    ) -> xr.Dataset:
        """Set this group beside another: by head within one model, else by relative depth.

        Parameters
        ----------
        other : xarray.Dataset
            Another group, or the same group's sweep.
        metric : str
        mode : str, optional
            Default: the primary mode of each.
        by : {"auto", "head", "depth"}

        Returns
        -------
        xarray.Dataset
            As :func:`phase7.findings.comparison.compare` describes it.

        Raises
        ------
        UserError
            If the metric or mode is unknown, or heads are to be paired between different shapes.

        Examples
        --------
        >>> effects = tree["tiny/gratitude"].to_dataset()
        >>> anger = tree["tiny/anger"].to_dataset()
        >>> beside = effects.phase7.compare(anger, "sentiment_positive")
        >>> beside.attrs["by"], dict(beside.sizes), int(beside.in_both.sum())
        ('head', {'layer': 4, 'head': 3}, 1)
        >>> deeper = tree["deep/gratitude"].to_dataset()
        >>> across = effects.phase7.compare(deeper, "sentiment_positive")
        >>> across.attrs["by"], dict(across.sizes)
        ('depth', {'depth': 4})
        >>> across.head_set[across.in_both].values, across.other_head_set[across.in_both].values
        (array(['1:2'], dtype='<U3'), array(['2:1'], dtype='<U3'))
        """
        return comparison.compare(self._dataset, other, metric, mode=mode, by=by)

    def specificity(self, metric: str, mode: str | None = None) -> pd.DataFrame:
        """The effects on a metric beside those of other emotions' donors, with the verdict on each.

        Parameters
        ----------
        metric : str
        mode : str, optional
            A patch mode, or ``"all"``; default: the primary mode.

        Returns
        -------
        pandas.DataFrame
            As :func:`phase7.findings.tables.specificity` describes it.

        Raises
        ------
        UserError
            If the metric or mode is unknown, or no other emotion's donor ran.
        """
        return tables.specificity(self._dataset, metric, mode)

    def layers(self, metric: str, mode: str | None = None) -> pd.DataFrame:
        """Mean and largest |effect| of each layer's heads.

        Parameters
        ----------
        metric : str
        mode : str, optional
            Default: the primary mode.

        Returns
        -------
        pandas.DataFrame
            As :func:`phase7.findings.tables.layer_effects` describes it.

        Examples
        --------
        >>> sweep = tree["tiny/gratitude/sweep"].to_dataset()
        >>> sweep.phase7.layers("sentiment_positive")[["layer", "depth", "n_heads"]]
           layer  depth  n_heads
        0      0  0.125        3
        1      1  0.375        3
        2      2  0.625        3
        3      3  0.875        3
        """
        return tables.layer_effects(self._dataset, metric, mode)

    def to_dataframe(self) -> pd.DataFrame:
        """Every tested cell and measured metric as one row of a pandas DataFrame.

        Returns
        -------
        pandas.DataFrame
            As :func:`phase7.findings.tables.to_dataframe` describes it; ``.to_parquet(path)`` stores it.

        Raises
        ------
        UserError
            If the Dataset holds no tests.

        Examples
        --------
        >>> frame = tree["tiny/gratitude/head_sets"].to_dataset().phase7.to_dataframe()
        >>> sorted(frame["head_set"].unique()), len(frame)
        (['1:2,3:0'], 105)
        """
        return tables.to_dataframe(self._dataset)

    def texts(self, heads: str = "", mode: str | None = None) -> TextPairs:
        """The texts without and with a patch, of a group's ``texts``.

        Parameters
        ----------
        heads : str
            As they were tested, e.g. ``"21:1"`` or ``"3:5,7:2"``; default: the first.
        mode : str, optional
            Default: the first that has texts.

        Returns
        -------
        TextPairs
            One for each prompt and sample.

        Raises
        ------
        UserError
            If the Dataset holds no texts, or none of these heads in this mode.
        """
        if "patched_text" not in self._dataset:
            raise UserError(
                expected="a group's node, or the Dataset of its texts",
                got="a Dataset without texts",
                where="texts",
                remedy='take tree["model/emotion"].phase7.texts(...)',
            )
        return pairs_of([self._dataset], heads, mode)

    def __repr__(self) -> str:
        named = " / ".join(str(self._dataset.attrs.get(key, "?")) for key in ("model", "emotion"))
        return f"<phase7: {named}, {', '.join(map(str, self._dataset.sizes))}>"

    def _repr_html_(self) -> str:
        """The tests with the smallest q."""
        frame = self.to_dataframe()
        prefix = "net_" if "net_delta" in frame and frame["net_delta"].notna().any() else ""
        columns = [f"{prefix}{name}" for name in ("delta", "ci_low", "ci_high", "q_value")]
        place = [name for name in ("layer", "head", "head_set", "mode", "metric") if name in frame]
        shown = frame.sort_values(columns[-1], kind="stable").head(5)[[*place, *columns]]
        html: str = shown.to_html(index=False, float_format="{:.4g}".format)
        return html
