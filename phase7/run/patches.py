"""A batch's patches as the engine takes them."""

from __future__ import annotations

from phase7.engine.patch.donors import Donor
from phase7.engine.patch.patching import Patch
from phase7.experiment.stages import Batch, Stage, roles_of
from phase7.run.donating import Donors


def patches_of(stage: Stage, batch: Batch, donors: Donors) -> tuple[list[Patch], dict[str, Donor]]:
    """The patches of a batch, and the donors that they name."""
    made = {role: donors.of(stage, role, batch.prompt_index) for role in roles_of(batch.patches)}
    patches = [
        Patch(
            heads=cell.heads,
            units=cell.units,
            mode=cell.mode,
            donor=stage.donor_kind(role) if made[role] is None else role,
            positions=stage.profile.patching.positions,
            write=cell.write,
            strength=cell.strength,
            reference="control" if cell.write == "add" else "",
        )
        for role, cell in batch.patches
    ]
    return patches, {role: donor for role, donor in made.items() if donor is not None}
