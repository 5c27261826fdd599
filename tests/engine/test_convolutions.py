"""Layers of every class, saved by Keras in every format: their filters are what Keras' class means by its axes."""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from ckptui.core.layout import axes_of
from ckptui.core.model import Layer
from ckptui.session import Session
from tests import warm_tensorflow

FORMATS = ("m.keras", "m.h5", "m.weights.h5", "ck", "sm")
UNTOLD = {("sm", "Conv2DTranspose, no bias"), ("sm", "DepthwiseConv2D, no bias"), ("sm", "Conv2DTranspose, square")}
"""An export keeps the names of variables alone: with no bias, or with one of either length, nothing tells."""


@pytest.fixture(scope="module")
def saves(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if find_spec("keras") is None:
        pytest.skip("Keras is not installed")
    folder = tmp_path_factory.mktemp("convolutions")
    script = Path(__file__).with_name("convolutions_child.py")
    done = warm_tensorflow.run([script, folder], timeout=200)
    assert done.returncode == 0, done.stderr[-2000:]
    return folder


def test_filters_of_every_class_in_every_format(saves: Path) -> None:
    expected = json.loads((saves / "expected.json").read_text())
    table: dict[str, list[str]] = {}
    wrong = []
    with Session() as session:
        for name in FORMATS:
            listing = session.open(str(saves / name))
            variables = {t.name: t.object_path for t in listing.tensors}
            found = {variables[one.tensor]: one for one in session.layers(listing) if isinstance(one, Layer)}
            for class_name, path, shape, places, channels, norms in expected:
                layer = found[path]
                right = (
                    list(layer.kernel) == places
                    and layer.channels == channels
                    and layer.filters == len(norms)
                    and np.allclose([f.l2 for f in layer.detail], norms, rtol=1e-9)
                )
                word = "x".join(map(str, [*layer.kernel, layer.channels])) + f" of {layer.filters}"
                table.setdefault(f"{class_name:25} {'x'.join(map(str, shape)):10}", []).append(
                    word if right else f"({word})"
                )
                if not right and (name, class_name) not in UNTOLD:
                    wrong.append((name, class_name, path, layer.kernel, layer.channels, layer.filters))
    print(f"{'class':25} {'shape':10} " + " ".join(f"{name:>12}" for name in FORMATS))
    for head, words in table.items():
        same = [words[0] if len(set(words)) == 1 else ", ".join(words)]
        print(f"{head} {same[0]} {'in all' if len(set(words)) == 1 else ''}")
    assert not wrong


@pytest.mark.parametrize(
    ("names", "shape", "bias", "axes"),
    [
        (("conv1d/kernel/.ATTRIBUTES/VARIABLE_VALUE",), (3, 4, 6), None, "plain"),
        (("value/kernel",), (32, 4, 8), None, "projection"),
        (("mha/attention_output/kernel",), (4, 8, 32), None, "dense"),
        (("attention_net/conv1d_3/kernel",), (3, 4, 6), None, "plain"),
        (("up/kernel",), (3, 3, 6, 4), (6,), "transposed"),
        (("up/kernel",), (3, 3, 6, 4), (4,), "plain"),
        (("x/kernel",), (3, 3, 6, 1), (6,), "depthwise"),
        (("x/kernel",), (3, 3, 6, 2), (12,), "depthwise"),
        (("MobilenetV1/Conv2d_1_depthwise/depthwise_weights",), (3, 3, 6, 1), None, "depthwise"),
        (("MobilenetV1/Conv2d_1_pointwise/weights",), (1, 1, 6, 8), None, "plain"),
        (("depthwise_block/pointwise/kernel",), (1, 1, 6, 8), None, "plain"),
        (("separable_conv2d/pointwise_kernel",), (1, 1, 6, 8), (8,), "plain"),
        (("separable_conv2d/depthwise_kernel",), (3, 3, 6, 1), (8,), "depthwise"),
        (("locally_connected1d/kernel",), (10, 12, 8), None, "dense"),
        (("Deconv_2/w",), (3, 3, 6, 4), None, "transposed"),
        (("projection/kernel",), (12, 3, 4), (3, 4), "projection"),
    ],
)
def test_without_a_class_names_and_the_bias_tell(
    names: tuple[str, ...], shape: tuple[int, ...], bias: tuple[int, ...] | None, axes: str
) -> None:
    assert axes_of(shape, *names, bias=bias) == axes


def test_the_class_goes_before_a_name_that_misleads() -> None:
    assert axes_of((3, 3, 6, 4), "transposed_depthwise/kernel", layer_class="Conv2D") == "plain"
    assert axes_of((3, 3, 6, 4), "conv2d/kernel", layer_class="Conv2DTranspose") == "transposed"
    assert axes_of((3, 3, 6, 1), "conv/kernel", layer_class="DepthwiseConv2D") == "depthwise"
    assert axes_of((10, 12, 8), "lc/kernel", layer_class="LocallyConnected2D") == "dense"
