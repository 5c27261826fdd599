"""What a call may change in a Keras model, kept and put back: every variable and every generator of random numbers."""

from __future__ import annotations

import sys
from typing import Any

GENERATOR_STATES = ("seed_generator_state", "StateVar")
"""What Keras 3 and `tf.random.Generator` call the variable they count in."""


class Snapshot:
    """The values of every variable of a model as they are now."""

    def __init__(self, owner: Any, trained: bool = True, variables: Any = None) -> None:
        """`trained`: also those that training would change by gradients, which no call of Keras' own layers does.

        `variables` are kept in place of all of the owner's, where they are given.
        """
        import numpy as np

        found = variables_of(owner) if variables is None else variables
        kept = [each for each in found if trained or not getattr(each, "trainable", False)]
        self._kept = [(variable, np.array(variable.numpy(), copy=True)) for variable in kept]

    def restore(self) -> list[str]:
        """Put back what changed, bit for bit; the names of what did."""
        import numpy as np

        changed = []
        for variable, value in self._kept:
            now = np.asarray(variable.numpy())
            if now.dtype == value.dtype and now.shape == value.shape and same_bytes(now, value):
                continue
            variable.assign(value)
            changed.append(str(getattr(variable, "path", None) or variable.name))
        return changed


def state_of(owner: Any) -> Snapshot:
    """What a call may hand on to the next one: every variable but those that generators of random numbers count in."""
    drawing = [generator for layer in layers_below(owner) for generator in generators_of(layer)]
    counts = {id(generator.state) for generator in drawing + global_generators()}
    found = [each for each in variables_of(owner) if id(each) not in counts and not counts_draws(each)]
    own = [state for layer in layers_below(owner) for state in flat(getattr(layer, "states", None))]
    found += [each for each in own if hasattr(each, "assign") and id(each) not in {id(one) for one in found}]
    return Snapshot(owner, variables=found)


def counts_draws(variable: Any) -> bool:
    """Whether it is, by its name, the state of a generator of random numbers."""
    name = str(getattr(variable, "path", None) or variable.name)
    return name.split("/")[-1].split(":")[0] in GENERATOR_STATES


def flat(states: Any) -> list[Any]:
    """States of a recurrent layer, which may be nested, or none."""
    if isinstance(states, dict):
        return [one for part in states.values() for one in flat(part)]
    if hasattr(states, "assign") or states is None:
        return [] if states is None else [states]
    try:
        return [one for part in states for one in flat(part)]
    except TypeError:
        return []


def same_bytes(a: Any, b: Any) -> bool:
    """Equal to the last bit; texts by what they say."""
    return bool((a == b).all()) if a.dtype.kind in "OSU" else a.tobytes() == b.tobytes()


def variables_of(owner: Any) -> list[Any]:
    """Every variable below a layer or model, trainable or not, and the states of its generators, each once."""
    found = list(getattr(owner, "variables", None) or []) + list(getattr(owner, "weights", None) or [])
    for layer in layers_below(owner):
        for generator in generators_of(layer):
            found.append(generator.state)
    found += [generator.state for generator in global_generators()]
    unique = {id(variable): variable for variable in found if hasattr(variable, "assign")}
    return list(unique.values())


def layers_below(owner: Any) -> list[Any]:
    """The layer or model itself and every layer in it."""
    flatten = getattr(owner, "_flatten_layers", None)
    return list(flatten()) if callable(flatten) else [owner]


def generators_of(layer: Any) -> list[Any]:
    """A layer's own generators: Keras 3's seed generators, and the `tf.random.Generator` of Keras 2."""
    found = list(getattr(layer, "_seed_generators", None) or [])
    for name in ("seed_generator", "generator"):
        found.append(getattr(layer, name, None))
    legacy = getattr(layer, "_random_generator", None)
    found.append(getattr(legacy, "_generator", None))
    return [generator for generator in found if hasattr(getattr(generator, "state", None), "assign")]


def global_generators() -> list[Any]:
    """The generator that unseeded calls of `keras.random` share, where Keras 3 made one."""
    module = sys.modules.get("keras.src.backend.common.global_state")
    get = getattr(module, "get_global_attribute", None)
    generator = get("global_seed_generator") if callable(get) else None
    return [generator] if hasattr(getattr(generator, "state", None), "assign") else []


def random_inside(layer: Any) -> bool:
    """Whether some layer in it draws random numbers from a state of its own."""
    return any(generators_of(part) for part in layers_below(layer))


def seeded_kernels(layer: Any) -> bool:
    """Whether some layer of Keras 2 in it draws from kernels that TensorFlow caches by seed."""
    legacy = [getattr(part, "_random_generator", None) for part in layers_below(layer)]
    return any(found is not None and getattr(found, "_generator", None) is None for found in legacy)


def restart_randomness(tensorflow: Any) -> None:
    """Forget how far seeded operations have come.

    TensorFlow keeps their state in kernels cached by seed, so a model loaded a second time would go on where the
    first one stopped: `tf.random.set_seed` clears them. None leaves unseeded operations unseeded.
    """
    try:
        tensorflow.random.set_seed(None)
    except (AttributeError, TypeError, ValueError):
        # A TensorFlow that takes no None has no such call to spare.
        return
