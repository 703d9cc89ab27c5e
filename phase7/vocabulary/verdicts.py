"""Words of the verdict on whether an effect is specific to the emotion, as they stand in the store."""

from __future__ import annotations

#: The emotion's donor does more than the neutral one and than that of every other emotion.
SPECIFIC = "specific"

#: The donors of all other emotions do it too, and the emotion's does not do more.
ANY_EMOTION = "any emotion"

#: There is an effect, of which neither can be said.
UNDETERMINED = "undetermined"

#: There is no effect that could be specific.
NO_EFFECT = "no effect"

VERDICTS = (SPECIFIC, ANY_EMOTION, UNDETERMINED, NO_EFFECT)
