"""``dataset.phase7`` and ``tree.phase7``: the analysis as methods of xarray objects.

Importing this module registers both accessors; using :func:`phase7.open_effects` imports it. ``import
phase7`` alone does not, so that the command line stays quick: with files opened by xarray itself,
write ``import phase7.accessor`` once.

The functions behind the methods are in :mod:`phase7.findings.tables`,
:mod:`phase7.findings.comparison` and :mod:`phase7.findings.remeasure`. In the examples, `tree` is
what :func:`phase7.open_effects` returned.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import pandas as pd
import xarray as xr

from phase7.findings import comparison, remeasure, tables

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["DataTreeAccessor", "DatasetAccessor"]


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

    def heatmap(self, metric: str, mode: str | None = None, *, ax: Axes | None = None) -> Axes:
        """Draw the effect of every tested head, layers to the right and heads upwards.

        Colours diverge from 0; a ring marks q below the group's level; hatching means not tested.

        Parameters
        ----------
        metric : str
        mode : str, optional
            Default: the primary mode.
        ax : matplotlib.axes.Axes, optional
            Where to draw; default: a new figure of :mod:`matplotlib.pyplot`.

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

        return draw_heatmap(self._dataset, metric, mode, ax)

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


@xr.register_datatree_accessor("phase7")  # type: ignore[no-untyped-call]
class DataTreeAccessor:
    """Methods over all groups of a tree.

    Parameters
    ----------
    tree : xarray.DataTree
        Given by xarray; the root of an effects store.
    """

    def __init__(self, tree: xr.DataTree) -> None:
        self._tree = tree

    def groups(self) -> list[str]:
        """Paths of the (model, emotion) groups.

        Examples
        --------
        >>> tree.phase7.groups()
        ['tiny/gratitude', 'tiny/anger', 'deep/gratitude']
        """
        return comparison.group_paths(self._tree)

    def top_heads(
        self,
        metric: str,
        n: int = 10,
        *,
        mode: str | None = None,
        by: tables.Order = "effect",
    ) -> pd.DataFrame:
        """The `n` strongest heads of each group, one table.

        Parameters
        ----------
        metric, n, mode, by
            As in :meth:`DatasetAccessor.top_heads`.

        Returns
        -------
        pandas.DataFrame
            With the columns model and emotion in front.

        Examples
        --------
        >>> tree.phase7.top_heads("sentiment_positive", 1)[["model", "emotion", "layer", "head"]]
          model    emotion  layer  head
        0  tiny  gratitude      1     2
        1  tiny      anger      1     2
        2  deep  gratitude      2     1
        """
        datasets = [self._tree[path].to_dataset() for path in self.groups()]
        frames = [tables.top_heads(one, metric, n, mode=mode, by=by) for one in datasets]
        return pd.concat(frames, ignore_index=True)

    def to_dataframe(self) -> pd.DataFrame:
        """Every test of single heads in every group.

        Returns
        -------
        pandas.DataFrame
            The rows of :meth:`DatasetAccessor.to_dataframe`, group after group.

        Examples
        --------
        >>> len(tree.phase7.to_dataframe())
        945
        """
        datasets = [self._tree[path].to_dataset() for path in self.groups()]
        return pd.concat([tables.to_dataframe(one) for one in datasets], ignore_index=True)

    def agreement(self, metric: str, mode: str | None = None) -> pd.DataFrame:
        """Rank agreement of heads for every pair of groups.

        Parameters
        ----------
        metric : str
        mode : str, optional
            Default: the primary mode of each.

        Returns
        -------
        pandas.DataFrame
            As :func:`phase7.findings.comparison.pairwise_agreement` describes it.

        Examples
        --------
        >>> tree.phase7.agreement("politeness")[["one", "other", "by", "n_compared"]]
                      one           other     by  n_compared
        0  tiny/gratitude      tiny/anger   head          12
        1  tiny/gratitude  deep/gratitude  depth           4
        2      tiny/anger  deep/gratitude  depth           4
        """
        return comparison.pairwise_agreement(self._tree, metric, mode)

    def measure(self, metric: str, function: Callable[[str], float]) -> xr.Dataset:
        """Test a metric of your own on the texts of this group; nothing is generated again.

        Parameters
        ----------
        metric : str
            What to call it.
        function : callable
            From a continuation (str) to its score; NaN for "cannot be measured".

        Returns
        -------
        xarray.Dataset
            As :func:`phase7.findings.remeasure.measure` describes it.

        Raises
        ------
        UserError
            If this node is not a group, or the function returns no number.

        Examples
        --------
        >>> n_words = tree["tiny/gratitude"].phase7.measure("n_words", lambda text: len(text.split()))
        >>> sorted(n_words.head_set.values.tolist())
        ['0:1', '1:2', '1:2,3:0', '3:0']
        >>> n_words.phase7.top_heads("n_words", 1).columns.tolist()[:5]
        ['model', 'emotion', 'head_set', 'mode', 'effect']
        """
        return remeasure.measure(self._tree, metric, function)
