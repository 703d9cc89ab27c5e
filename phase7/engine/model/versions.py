"""The library versions that the faster ways of computing have been tested with."""

from __future__ import annotations

from importlib.metadata import version

#: The exact versions that constraints.txt pins. With these nothing is compared when a model is loaded.
TESTED = {"torch": "2.13.0", "transformers": "5.23.0", "transformer-lens": "4.3.0"}


def untested() -> dict[str, str]:
    """The installed version of each package that is not the tested one.

    What follows a ``+``, such as the name of torch's build, does not count.
    """
    installed = {name: version(name) for name in TESTED}
    return {name: is_ for name, is_ in installed.items() if is_.partition("+")[0] != TESTED[name]}
