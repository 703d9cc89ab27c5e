"""The report's figures, drawn with matplotlib from the effects tree.

As PNG and SVG files, the same bytes for the same tree on one machine; as SVG in memory with the places
of the cells, for the HTML report; and, for notebooks, one heatmap on axes of one's own.
"""

from phase7.plots.heatmaps import draw_heatmap
from phase7.plots.write import Drawn, draw, draw_svg, write_plots

__all__ = ["Drawn", "draw", "draw_heatmap", "draw_svg", "write_plots"]
