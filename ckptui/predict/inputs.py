"""From what the user named to what is predicted: images, `--input` files, Serving JSON, serialized Examples."""

from __future__ import annotations

import os
import re
import shlex
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ckptui.core.text import safe
from ckptui.errors import Cancelled, CkptuiError, NoSuchPath, UsageError
from ckptui.predict.built_examples import ExampleMaterial, readable
from ckptui.predict.decoders import Decoding, Field
from ckptui.predict.encoded import Encoded, EncodedMaterial, EncodedRecipe, encoded_form
from ckptui.predict.examples import supported
from ckptui.predict.fitting import listed
from ckptui.predict.given import GivenMaterial, Part
from ckptui.predict.given_files import MAX_JSON, kind_of, read_bytes
from ckptui.predict.image import HINT, NO_IMAGE, ImageReader, as_written, form_of
from ckptui.predict.material import ImageMaterial, Material
from ckptui.predict.recipe import Recipe, recipe_of
from ckptui.predict.serving_json import parse, signature_name
from ckptui.predict.wish import Wish
from ckptui.predict.worker.packing import unpack

Array = np.ndarray[Any, Any]
Failed = tuple[str, CkptuiError]

IMAGE_WORDS = re.compile(r"image|img|jpe?g|png|b64|encoded|picture|photo|bytes", re.IGNORECASE)
"""Names of string inputs, and of fields, that hold an encoded image."""
GIVEN_SECONDS = 120.0
MOST_GIVEN = 64
"""Strings of one input that are looked into for images and features."""


def materials_of(
    wish: Wish,
    images: Sequence[str],
    facts: Mapping[str, Any],
    reader: ImageReader,
    cancel: threading.Event | None = None,
) -> Iterator[Material | Failed]:
    """Everything that is to be predicted, one after the other, for the model of `facts` (the worker's load reply).

    First what `--input` names, as one material (each file by itself where all stand for the only input), then every
    image; one image beside `--input` files fills the input that these leave open. What fails is a pair of its path
    and the error, and costs only itself.
    Raises UsageError where the model takes nothing of the kind, or has no such input; Cancelled, WorkerFailed as
    `ImageReader.ask`.
    """
    maker = _Maker(wish, facts, reader, cancel)
    parts: list[Part] = []
    if wish.input:
        groups = maker.groups()
        open_inputs = maker.left_open(groups[0]) if len(groups) == 1 and images else []
        if open_inputs:
            parts, words = maker.parts(groups[0])
            given = {part.name for part in parts}
            open_inputs = [entry for entry in maker.needed if entry["name"] not in given]
        if open_inputs:
            yield from maker.beside(parts, words, open_inputs, images)
            return
        for group in groups:
            yield from _tried(" ".join(path for _, path in group), lambda group=group: maker.given(group))
    if images:
        if len(maker.needed) != 1:
            raise maker.several(images[0])
        make = _taker(maker, images)
        for path in images:
            yield from _tried(path, lambda path=path: make(path))


def signature_asked(wish: Wish) -> str | None:
    """The signature that is asked for by name, or else by a request among the `--input` files.

    Raises UsageError where two requests name different ones. A file that can't be read is left to `materials_of`.
    """
    if wish.signature is not None:
        return wish.signature
    found: set[str] = set()
    for given in wish.input:
        path = given if os.path.exists(given) else given.partition("=")[2]
        try:
            name = signature_name(parse(read_bytes(path, MAX_JSON), path)) if kind_of(path) == "json" else None
        except CkptuiError:
            continue
        if name is not None:
            found.add(name)
    if len(found) > 1:
        raise UsageError(f"the requests name several signatures: {', '.join(safe(name) for name in sorted(found))}")
    return next(iter(found), None)


def folder_recipe(
    wish: Wish, facts: Mapping[str, Any], reader: ImageReader, cancel: threading.Event | None = None
) -> Recipe | EncodedRecipe:
    """How the pictures of a folder get into a model whose only input is an image; raises UsageError for any other."""
    maker = _Maker(wish, facts, reader, cancel)
    inputs = maker.needed
    if len(inputs) != 1 or inputs[0].get("dtype") != "string":
        return recipe_of(wish, facts, form_of(inputs))
    _, field = maker.string_way(inputs[0])
    decoding = maker.decoding(inputs[0])
    wrap = decoding.wrapped(field, "the picture")
    return EncodedRecipe(encoded_form(inputs[0]), _encoder(maker, decoding), wrap, decoding.sends)


def _tried(path: str, make: Any) -> Iterator[Material | Failed]:
    """A material, or its path and why there is none."""
    try:
        made: Material = make()
    except Cancelled:
        raise
    except CkptuiError as error:
        yield path, error
    else:
        yield made


def _taker(maker: _Maker, images: Sequence[str]) -> Any:
    """What makes a material of each path: of an image, or of an array for an input that takes no image."""
    try:
        return maker.image_maker(maker.needed)
    except UsageError as error:
        arrays = all(path.lower().endswith(".npy") for path in images)
        if len(maker.needed) != 1 or error.title != NO_IMAGE or not arrays:
            raise
        return lambda path: maker.given([(None, path)])


@dataclass(slots=True)
class _Maker:
    """What making materials for one model takes."""

    wish: Wish
    facts: Mapping[str, Any]
    reader: ImageReader
    cancel: threading.Event | None

    @property
    def inputs(self) -> Sequence[Mapping[str, Any]]:
        """`{"name", "dtype", "shape"}` of each."""
        found: Sequence[Mapping[str, Any]] = self.facts.get("inputs") or ()
        return found

    @property
    def needed(self) -> Sequence[Mapping[str, Any]]:
        """Those that something has to be given for: not the ones that reach no output, which the worker fills."""
        idle = self.facts.get("idle") or ()
        return [entry for entry in self.inputs if entry["name"] not in idle] if idle else self.inputs

    def groups(self) -> list[list[tuple[str | None, str]]]:
        """The `--input` options as (input, path), those of one call together."""
        files = [self._split(given) for given in self.wish.input]
        if len(self.inputs) == 1 or all(name is None for name, _ in files):
            return [[file] for file in files]
        return [files]

    def _split(self, given: str) -> tuple[str | None, str]:
        """NAME=FILE or FILE alone. A name or a path may hold `=` itself, so known inputs and files decide."""
        names = {form: str(e["name"]) for e in self.inputs for form in (str(e["name"]), safe(str(e["name"])))}
        at = given.find("=")
        while at >= 0:
            if given[:at] in names:
                return names[given[:at]], self._existing(given[at + 1 :])
            at = given.find("=", at + 1)
        name, equals, path = given.partition("=")
        if equals and not os.path.exists(given) and os.path.exists(path):
            hint = f"Its inputs: {safe(listed(self.inputs))}"
            raise UsageError(f"no input is called {safe(name)}", hint, title="No such input")
        return None, self._existing(given)

    @staticmethod
    def _existing(path: str) -> str:
        if not os.path.exists(path):
            raise NoSuchPath(safe(path))
        return path

    def left_open(self, files: Sequence[tuple[str | None, str]]) -> list[Mapping[str, Any]]:
        """Inputs that no file is named for; none where a file without a name may hold any of them."""
        named = {name for name, _ in files}
        return [] if None in named else [entry for entry in self.needed if entry["name"] not in named]

    def given(self, files: Sequence[tuple[str | None, str]]) -> Material:
        """The files of one call as one material."""
        parts, words = self.parts(files)
        alone = parts[0].material if len(parts) == 1 else None
        of_file = isinstance(alone, (ImageMaterial, EncodedMaterial))
        return alone if alone is not None and of_file else GivenMaterial(_label(files), parts, words)

    def parts(self, files: Sequence[tuple[str | None, str]]) -> tuple[list[Part], str]:
        """The inputs that the files hold, in the model's order, and words for what was done to them."""
        written = {os.path.abspath(path): path for _, path in files}
        args = {
            "path": _label(files),
            "files": [[name, os.path.abspath(path)] for name, path in files],
            "inputs": list(self.inputs),
            "parsing": self.facts.get("parsing") or {},
            "signature": self.facts.get("signature"),
            "encoded": [str(entry["name"]) for entry in self.inputs if self.is_encoded(entry)],
        }
        reply = self.reader.ask_of(written, "given", args, self.cancel, GIVEN_SECONDS)
        found = {
            name: Part(name, values, self._free(name), self.changeable(name, values))
            for name, values in unpack(reply.doc["entries"], reply.arrays)
        }
        words = [as_written(safe(str(note)), written) for note in reply.doc["notes"]]
        for name, place in reply.doc["images"]:
            path = written[str(place)]
            if name in found:
                raise UsageError(f"the input {safe(str(name))} is given twice")
            material = self.image_maker([self._entry(name)])(path)
            found[name] = Part(name, material.original().first, self._free(name), material)
            words.append(f"{safe(str(name))}: {material.words}")
        ordered = [found[str(entry["name"])] for entry in self.inputs if entry["name"] in found]
        return ordered, "; ".join(words) or "none, the file holds the input itself"

    def beside(
        self, parts: Sequence[Part], words: str, left: Sequence[Mapping[str, Any]], images: Sequence[str]
    ) -> Iterator[Material | Failed]:
        """Each image in the one input that the files leave open."""
        if len(left) != 1:
            raise UsageError(
                f"{len(left)} inputs are left for one image: {safe(listed(left))}",
                "Give all but one with --input NAME=FILE",
            )
        make, name = self.image_maker(left), str(left[0]["name"])

        def mixed(path: str) -> Material:
            image = make(path)
            added = [*parts, Part(name, image.original().first, self._free(name), image)]
            return GivenMaterial(path, added, f"{safe(name)}: {image.words}; {words}")

        for path in images:
            yield from _tried(path, lambda path=path: mixed(path))

    def several(self, path: str) -> UsageError:
        """An image alone for several inputs: which of them takes it, and how to say so."""
        inputs = self.inputs
        if not inputs:
            hint = "Another signature may take one: --signature NAME" if self.facts.get("signature") else ""
            return UsageError("it has no input: nothing can be given to it", hint, title=NO_IMAGE)
        takes = [entry for entry in inputs if self.is_encoded(entry) or _pictured(entry)]
        title = "The model takes no single image"
        if len(takes) != 1:
            return UsageError(
                f"it has {len(inputs)} inputs", f"Its inputs: {safe(listed(inputs))}; {HINT}", title=title
            )
        options = [f"{entry['name']}={path if entry is takes[0] else 'FILE'}" for entry in inputs]
        said = " ".join(f"--input {shlex.quote(safe(option))}" for option in options)
        return UsageError(
            f"it has {len(inputs)} inputs, {safe(str(takes[0]['name']))} takes the image",
            f"Say {said}. Its inputs: {safe(listed(inputs))}; a FILE is an image, .npy, .npz or Serving JSON",
            title=title,
        )

    def _entry(self, name: str) -> Mapping[str, Any]:
        return next(entry for entry in self.inputs if entry["name"] == name)

    def _free(self, name: str) -> bool:
        shape = self._entry(name).get("shape")
        return shape is None or (bool(shape) and shape[0] is None)

    def is_encoded(self, entry: Mapping[str, Any]) -> bool:
        """A string input that takes an image file's bytes: its graph decodes them, or its name says so."""
        name = str(entry["name"])
        if entry.get("dtype") != "string" or (self.facts.get("parsing") or {}).get(name):
            return False
        return name in (self.facts.get("encoded") or {}) or bool(IMAGE_WORDS.search(name))

    def image_maker(self, inputs: Sequence[Mapping[str, Any]]) -> Any:
        """What makes a material of an image's path for these inputs; raises UsageError where they take no image."""
        if len(inputs) == 1 and inputs[0].get("dtype") == "string":
            return self._string_maker(inputs[0])
        form = form_of(inputs)
        met = (self.facts.get("meets") or {}).get(str(inputs[0]["name"])) if len(inputs) == 1 else None
        recipe = recipe_of(self.wish, {**self.facts, "first": met} if met else self.facts, form)
        return lambda path: ImageMaterial(self.reader.fitted(path, form, self.cancel), recipe)

    def _string_maker(self, entry: Mapping[str, Any]) -> Any:
        """For an input of strings: an image's bytes as they are, or in the one field of an Example that takes them."""
        words, field = self.string_way(entry)
        return lambda path: self._encoded(path, entry, words, field)

    def string_way(self, entry: Mapping[str, Any]) -> tuple[str, Field | None]:
        """How an encoded image gets into an input of strings, in words, and the field of an Example it goes in."""
        name = str(entry["name"])
        specs: Sequence[Mapping[str, Any]] = (self.facts.get("parsing") or {}).get(name) or ()
        sent = "as base64" if self.decoding(entry).base64 else "as they are"
        if self.is_encoded(entry):
            decodes = name in (self.facts.get("encoded") or {})
            reason = "the graph decodes it" if decodes else f"by the name of the input {safe(name)}"
            return f"none, the file's bytes {sent}: {reason}", None
        key = image_field(specs)
        if key is not None:
            supported(specs)
            return f"none, the file's bytes {sent}, in an Example as {safe(key)}", (key, specs)
        hint = f"Its inputs: {safe(listed([entry]))}; {HINT}"
        if specs:
            fields = ", ".join(f"{safe(str(spec['key']))} {spec['dtype']}" for spec in specs[:20])
            raise UsageError(f"it parses Examples with {fields}", hint, title=NO_IMAGE)
        raise UsageError("its input is string, and nothing in its graph decodes an image", hint, title=NO_IMAGE)

    def _encoded(
        self,
        path: str,
        entry: Mapping[str, Any],
        words: str,
        field: Field | None = None,
    ) -> Material:
        picture = self.reader.decode(path, cancel=self.cancel)
        if picture.raw:
            raise UsageError(f"{safe(path)} holds numbers, the model takes encoded images as bytes")
        decoding = self.decoding(entry)
        encode = _encoder(self, decoding)
        data = self.reader.file_bytes(path, self.cancel)
        if data.startswith(b"\x93NUMPY"):
            data = encode(picture.pixels)
            words = f"sent as {decoding.sends}: {words.removeprefix('none, ')}"
        notes = [note for note in picture.notes if "EXIF" in note or "frames" in note]
        notes += decoding.check(data, path, any("frames" in note for note in notes))
        told = "; ".join((words, *notes))
        return EncodedMaterial(picture, data, entry.get("shape"), encode, told, decoding.wrapped(field, path))

    def decoding(self, entry: Mapping[str, Any]) -> Decoding:
        """How the graph decodes the images of an input."""
        return Decoding.of(self.facts, str(entry["name"]))

    def changeable(self, name: str, values: Array) -> Material | None:
        """What can change strings that were given: images as bytes, or Examples; None for any others."""
        entry = self._entry(name)
        specs: Sequence[Mapping[str, Any]] = (self.facts.get("parsing") or {}).get(name) or ()
        if entry.get("dtype") != "string" or not 0 < values.size <= MOST_GIVEN:
            return None
        decoding = self.decoding(entry)
        if not specs:
            images = [self._decoded(one, decoding) for one in values.reshape(-1)] if self.is_encoded(entry) else []
            whole = [image for image in images if image is not None]
            return Encoded(values, whole) if whole and len(whole) == len(images) else None
        rows = None if any(spec.get("sequence") for spec in specs) else readable(values)
        if rows is None:
            return None
        keys = [str(spec["key"]) for spec in specs if IMAGE_WORDS.search(str(spec["key"]))]
        found: dict[tuple[int, str], EncodedMaterial] = {}
        for place, row in enumerate(rows):
            for key in keys:
                held = row.get(key)
                image = self._decoded(held[0], decoding) if isinstance(held, list) and len(held) == 1 else None
                if image is not None:
                    found[place, key] = image
        return ExampleMaterial(values, rows, found)

    def _decoded(self, data: bytes, decoding: Decoding) -> EncodedMaterial | None:
        """An encoded image that was given as bytes; None for what can't be decoded."""
        held = decoding.unwrapped(data)
        try:
            picture = self.reader.decode_bytes(held, "what was given", self.cancel)
        except UsageError:
            return None
        return EncodedMaterial(picture, held, [None], _encoder(self, decoding), "", decoding.wrapped(None, ""))


def _encoder(maker: _Maker, decoding: Decoding) -> Callable[[Array], bytes]:
    """What makes of pixels a file that the graph takes."""
    return lambda pixels: maker.reader.encode(pixels, maker.cancel, decoding.sends)


def _pictured(entry: Mapping[str, Any]) -> bool:
    """Whether an input has the shape of images, with an axis of 1 or 3 channels."""
    try:
        form = form_of([entry])
    except UsageError:
        return False
    return form.layout in ("hwc", "chw") and bool(form.channels)


def image_field(specs: Sequence[Mapping[str, Any]]) -> str | None:
    """The field of an Example that holds an encoded image, where it is the only one that has to be there."""
    texts = [spec for spec in specs if spec.get("dtype") == "string" and IMAGE_WORDS.search(str(spec.get("key")))]
    needed = [spec for spec in specs if spec.get("required")]
    if len(texts) > 1:
        texts = [spec for spec in texts if spec.get("required") or str(spec.get("key")).endswith("encoded")]
    if len(texts) != 1 or any(spec["key"] != texts[0]["key"] for spec in needed):
        return None
    return str(texts[0]["key"])


def _label(files: Sequence[tuple[str | None, str]]) -> str:
    """How the files are called in rows and messages."""
    if len(files) == 1:
        return files[0][1]
    return " ".join(f"{name}={path}" if name is not None else path for name, path in files)
