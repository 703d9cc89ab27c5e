"""Where a running model can be read and written, as one table.

A site is a hook of the bridge in every layer, with the axes of the tensor that passes there. What the
engine captures and patches names a site; the hook's name and the meaning of its axes stand here only.
Values are no site: what attention reads stands in the KV cache.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

SiteName = Literal["z", "pattern", "result", "mlp", "resid"]

#: `head` counts query heads.
Axis = Literal["row", "query", "key", "head", "d_head", "d_model"]


@dataclass(frozen=True, kw_only=True)
class Site:
    """One place in every layer.

    What a hook returns takes the place of what passed, but for a pattern, which can only be read: some
    architectures ignore what is written to it.

    Attributes
    ----------
    hook : str
        Name of the bridge's hook, below ``blocks.<layer>.``.
    axes : tuple of str
        Of its tensor, in order.
    is_in_attention : bool
        Whether it passes while the layer's attention runs.
    reads_attended : bool
        Whether its rows are those of the attention where the MLP runs beside it (a parallel model).
    """

    hook: str
    axes: tuple[Axis, ...]
    is_in_attention: bool = True
    reads_attended: bool = False

    def axis(self, name: Axis) -> int:
        """Place of an axis."""
        return self.axes.index(name)


SITES: Mapping[SiteName, Site] = MappingProxyType(
    {
        "z": Site(hook="attn.hook_z", axes=("row", "query", "head", "d_head")),
        "pattern": Site(hook="attn.hook_pattern", axes=("row", "head", "query", "key")),
        "result": Site(hook="attn.hook_result", axes=("row", "query", "head", "d_model")),
        "mlp": Site(
            hook="mlp.hook_out",
            axes=("row", "query", "d_model"),
            is_in_attention=False,
            reads_attended=True,
        ),
        "resid": Site(hook="hook_out", axes=("row", "query", "d_model"), is_in_attention=False),
    }
)


def hook_name(site: SiteName, layer: int) -> str:
    """The bridge's name of a site in one layer."""
    return f"blocks.{layer}.{SITES[site].hook}"
