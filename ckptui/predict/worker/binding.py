"""The weights of a loaded model under names of their own, and values pushed into them one by one."""

from __future__ import annotations

from typing import Any

from .errors import Refused, brief


class Weights:
    """Variables by name, in the model's order; of several with one name the later ones get a number."""

    def __init__(self, variables: Any) -> None:
        self._by_name: dict[str, Any] = {}
        for variable in variables:
            name = given = plain_name(variable)
            number = 2
            while name in self._by_name:
                name, number = "%s (%d)" % (given, number), number + 1
            self._by_name[name] = variable

    def __len__(self) -> int:
        return len(self._by_name)

    def names(self) -> list[str]:
        """Path of every weight: `conv1/kernel`."""
        return list(self._by_name)

    def name_of(self, variable: Any) -> str | None:
        """What this very variable is called here; None for any other."""
        return next((name for name, own in self._by_name.items() if own is variable), None)

    def items(self) -> list[Any]:
        """Name and variable of every weight."""
        return list(self._by_name.items())

    def described(self) -> list[list[Any]]:
        """`[name, dtype, shape]` of each; an unknown extent is -1."""
        found = []
        for name, variable in self._by_name.items():
            shape = [-1 if extent is None else int(extent) for extent in variable.shape]
            found.append([name, str(getattr(variable.dtype, "name", variable.dtype)), shape])
        return found

    def assign(self, name: str, value: Any) -> str:
        """Give the weight of that name, or the only one whose name ends so, a value; its name.

        Refused where none, or none of that shape, is.
        """
        wanted = name[:-2] if name.endswith(":0") else name
        fits = [wanted] if wanted in self._by_name else []
        fits = fits or [n for n in self._by_name if n.endswith("/" + wanted) or wanted.endswith("/" + n)]
        if len(fits) != 1:
            raise Refused("load", "the model has no weight of that name" if not fits else "ambiguous name")
        weight = self._by_name[fits[0]]
        shape = tuple(-1 if extent is None else int(extent) for extent in weight.shape)
        if len(shape) != len(value.shape) or any(m not in (-1, v) for m, v in zip(shape, value.shape)):
            raise Refused("load", "shape %s, the model's is %s" % (list(value.shape), list(shape)))
        try:
            weight.assign(value)
        except Exception as error:  # a dtype that does not fit, a variable that can't be written
            raise Refused("load", brief(error)) from error
        return fits[0]


def plain_name(weight: Any) -> str:
    """A weight's path without Keras 2's `:0`."""
    name = str(getattr(weight, "path", None) or weight.name)
    return name[:-2] if name.endswith(":0") else name
