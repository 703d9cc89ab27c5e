"""Methods of a tree of effects, and of every node in it: a node answers as its Dataset does."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd
import xarray as xr

from phase7.accessor.datasets import DatasetAccessor
from phase7.findings import comparison, remeasure, tables
from phase7.findings.pairs import TextPairs, pairs_of, texts_of
from phase7.findings.reader import group_nodes
from phase7.vocabulary.errors import UserError

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from phase7.report.language import Lang
    from phase7.report.write import Format


@xr.register_datatree_accessor("phase7")  # type: ignore[no-untyped-call]
class DataTreeAccessor:
    """Methods over the groups at and below a node.

    On a group's node, such as ``tree["smollm2/gratitude"]``, or on its ``sweep``, they are those of the
    node's Dataset. On the root they answer for all groups, or ask for one where only one can be
    answered for.

    Parameters
    ----------
    tree : xarray.DataTree
        Given by xarray.
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
        >>> one = tree["tiny/anger"]
        >>> one.phase7.top_heads("politeness", 1).equals(
        ...     one.to_dataset().phase7.top_heads("politeness", 1)
        ... )
        True
        """
        frames = [tables.top_heads(one, metric, n, mode=mode, by=by) for one in self._datasets()]
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
        return pd.concat([tables.to_dataframe(one) for one in self._datasets()], ignore_index=True)

    def heatmap(
        self,
        metric: str,
        mode: str | None = None,
        *,
        ax: Axes | None = None,
        limit: float | None = None,
    ) -> Axes:
        """As :meth:`DatasetAccessor.heatmap`, of the one group here.

        All groups of the file have one colour scale for a metric and mode: the same colour is the same
        effect in the map of each, unless a `limit` is given.
        """
        node = self._only_node()
        if limit is None:
            limit = tables.largest_effect(self._like(node), metric, mode)
        return DatasetAccessor(node.to_dataset()).heatmap(metric, mode, ax=ax, limit=limit)

    def layers(self, metric: str, mode: str | None = None) -> pd.DataFrame:
        """As :meth:`DatasetAccessor.layers`, of the one group here."""
        return self._only().layers(metric, mode)

    def specificity(self, metric: str, mode: str | None = None) -> pd.DataFrame:
        """As :meth:`DatasetAccessor.specificity`, of the one group here."""
        return self._only().specificity(metric, mode)

    def compare(
        self,
        other: xr.Dataset | xr.DataTree,
        metric: str,
        *,
        mode: str | None = None,
        by: comparison.By = "auto",
    ) -> xr.Dataset:
        """As :meth:`DatasetAccessor.compare`, of the one group here and another's node or Dataset."""
        if isinstance(other, xr.DataTree):
            other = DataTreeAccessor(other)._only_dataset()
        return self._only().compare(other, metric, mode=mode, by=by)

    def texts(self, heads: str = "", mode: str | None = None) -> TextPairs:
        """The texts without and with a patch, of the one group here.

        Heads that were only swept have texts where the sweep generated any (``[sweep] text``), on its
        discovery prompts. Of heads that were confirmed too, a group's node gives the confirmation's, and
        the node of its ``sweep`` the sweep's.

        Parameters
        ----------
        heads, mode
            As in :meth:`DatasetAccessor.texts`; default: the first heads that have texts.

        Returns
        -------
        TextPairs
            They print as two columns with the first difference marked.

        Raises
        ------
        UserError
            If these heads have no texts in this mode.

        Examples
        --------
        >>> pairs = tree["tiny/gratitude"].phase7.texts("1:2")
        >>> sorted(pairs.to_dataframe().columns)
        ['baseline', 'control', 'heads', 'mode', 'patched', 'prompt', 'sample']
        """
        node = self._tree if "texts" in self._tree.children else self._only_node()
        kept = texts_of(node)
        if not kept:
            raise UserError(
                expected="a group's node, or the sweep of a profile with [sweep] text = true",
                got=f"{node.path}, which has no texts",
                where="texts",
                remedy='take tree["model/emotion"].phase7.texts(...)',
            )
        return pairs_of(kept, heads, mode)

    def report(self, path: str | Path, *, lang: Lang = "en", format: Format | None = None) -> list[Path]:
        """Write the report of the groups here: one HTML page, or Markdown beside its figures.

        Parameters
        ----------
        path : str or Path
            Such as ``out.html``. Markdown's figures go to ``<name>_plots`` beside it.
        lang : {"en", "ja"}
        format : {"md", "html", "both"}, optional
            Default: by the path's suffix.

        Returns
        -------
        list of Path
            What was written.

        Raises
        ------
        UserError
            If there is no group here, or a file cannot be written.
        """
        from phase7.plots import write_plots
        from phase7.report import report_files, write_reports

        files = report_files(Path(path), format)
        nodes = {node.path: node.to_dataset() for node in self._tree.subtree if node.data_vars}
        whole = xr.DataTree.from_dict(nodes)
        whole.attrs.update(self._tree.root.attrs)
        pages = [file for file in files if file.suffix.lower() not in (".html", ".htm")]
        plots = Path(path).with_name(f"{Path(path).stem}_plots") if pages else None
        drawn = [] if plots is None else write_plots(whole, plots)
        return [*drawn, *write_reports(whole, files, lang=lang, plots_dir=plots)]

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

        On the node of a sweep that generated texts: on those of the swept heads.

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

    def __repr__(self) -> str:
        return f"<phase7: {', '.join(self.groups()) or self._tree.path}>"

    def _repr_html_(self) -> str:
        """The tests with the smallest q of every group."""
        parts = []
        for one in self._datasets():
            named = " / ".join(str(one.attrs.get(key, "?")) for key in ("model", "emotion"))
            parts.append(f"<p><b>{named}</b></p>{DatasetAccessor(one)._repr_html_()}")
        return "".join(parts)

    def _datasets(self) -> list[xr.Dataset]:
        """The Dataset of this node, or those of all groups below it."""
        if self._tree.data_vars:
            return [self._tree.to_dataset()]
        found = [node.to_dataset() for node in group_nodes(self._tree)]
        if not found:
            raise UserError(
                expected="a tree of effects, a group in it, or what a group holds",
                got=f"the node {self._tree.path}, without any",
                where="phase7",
                remedy="take what phase7.open_effects or phase7.patch returned",
            )
        return found

    def _only_node(self) -> xr.DataTree:
        """This node where it has numbers, else the one group below it."""
        if self._tree.data_vars:
            return self._tree
        nodes = group_nodes(self._tree)
        if len(nodes) != 1:
            paths = [node.path.strip("/") for node in nodes]
            raise UserError(
                expected="one group",
                got=f"{len(nodes)} ({', '.join(paths)[:200]})",
                where="phase7",
                remedy='take one of them, as in tree["model/emotion"].phase7',
            )
        return nodes[0]

    def _like(self, node: xr.DataTree) -> Iterator[xr.Dataset]:
        """What every group of the file has in this node's place: the groups, or their sweeps."""
        name = "" if "settings" in node.attrs else str(node.name)
        for group in group_nodes(node.root):
            if not name:
                yield group.to_dataset()
            elif name in group.children:
                yield group[name].to_dataset()

    def _only_dataset(self) -> xr.Dataset:
        return self._only_node().to_dataset()

    def _only(self) -> DatasetAccessor:
        return DatasetAccessor(self._only_dataset())
