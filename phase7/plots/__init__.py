"""The report's figures, as PNG and SVG.

What enters: the effects tree and a folder. What leaves: files, the same bytes for the same tree on
one machine; and, for notebooks, one heatmap on matplotlib axes.
"""

from phase7.plots.heatmaps import draw_heatmap
from phase7.plots.write import draw, write_plots

__all__ = ["draw", "draw_heatmap", "write_plots"]
