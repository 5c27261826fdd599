"""What a second look at a data file with wrong checksums found: facts for a judgement, none made here."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Partner:
    """A pair of index and data file in which checksums that fail in the save come out right."""

    index: str
    data: str
    right: int
    """Checksums that hold."""
    of: int
    """Checksums compared."""
    same_index: bool = False
    """Its own index is the save's, byte for byte."""

    @property
    def score(self) -> str:
        """`31 of 31`."""
        return f"{self.right} of {self.of}"

    @property
    def complete(self) -> bool:
        """Every checksum that was compared holds."""
        return 0 < self.right == self.of


@dataclass(frozen=True, slots=True)
class CountedValue:
    """A counter whose checksum is wrong and whose stored value could be one."""

    tensor: str
    value: int


@dataclass(frozen=True, slots=True)
class ShardFacts:
    """One data file of a bundle."""

    file: str
    index: str
    size: int
    needed: int
    """Bytes up to the end of its last tensor."""
    modified: float
    index_modified: float
    checksums: int
    """Stored for bytes of this file."""
    wrong: int
    unexplained: int
    """Wrong, and neither a flipped bit nor lost zeros tell why."""
    counters_explained: int
    """Of those that are explained, counters whose value makes sense: another count may be one bit away."""
    scattered: bool
    """Bytes that are right lie between bytes that are wrong."""
    mangling: str = ""
    """What a text-mode or text-encoding copy did, see `readers.mangled`; empty where none did."""
    reversible: bool = False
    proved: int = 0
    """Checksums that hold once the copy is taken back."""
    shift: int = 0
    """Bytes by which tensors lie behind (or, negative, before) the place the index has for them; 0 where none do."""
    shifted: int = 0
    """Tensors found whole at such a place."""
    shift_after: int = 0
    shift_before: int = 0
    """Offsets, as the index has them, between which those bytes were put in or lost."""
    plausible: float | None = None
    """Share of the floating-point numbers under wrong checksums that weights could be; None without such numbers."""
    counters: tuple[CountedValue, ...] = ()
    other_index: Partner | None = None
    """This data with another index."""
    other_data: Partner | None = None
    """This index with another data file."""
    same_as: str = ""
    """Another save's data file with the same bytes, or the same file under another name."""
    swapped: bool = False
    """That is another shard of this save: the files bear each other's names."""

    @property
    def may_be_another(self) -> bool:
        """No wrong checksum is explained but by bits of a counter."""
        return self.unexplained + self.counters_explained == self.wrong
