"""Which single flipped bit explains a CRC-32C (or the CRC-32 of zip archives) that does not match.

A CRC is linear: stored and computed checksum of data that differ in one bit differ by x**n modulo the polynomial, n
counting bits from that bit to the end of the checksum. So the place is a discrete logarithm, found by baby steps and
giant steps in milliseconds however many gigabytes lie in between. Polynomials: RFC 3720, B.4 (Castagnoli), and
ISO/IEC 8802-3, which APPNOTE.TXT 4.4.7 takes for zip archives.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np


@dataclass(frozen=True, slots=True)
class Polynomial:
    """What a CRC of 32 bits divides by."""

    reflected: int
    """Without x**32, lowest power in the highest bit, as the checksum itself is written."""
    order: int
    """x**order is 1 modulo the polynomial, so places this many bits apart can't be told apart."""
    even: bool
    """x + 1 divides it: a power of x then has an odd number of terms."""


CASTAGNOLI = Polynomial(0x82F63B78, 2**31 - 1, even=True)
"""CRC-32C: TensorFlow's checkpoints."""
ZIP = Polynomial(0xEDB88320, 2**32 - 1, even=False)
"""CRC-32: zip archives; the polynomial is primitive."""
ORDER = CASTAGNOLI.order
_ONE = 1 << 31
_WIDTH = 32
_STEP = 1 << 16
"""Powers of x kept at hand; about the square root of ORDER."""

Words = np.ndarray[Any, np.dtype[np.uint32]]


@dataclass(frozen=True, slots=True)
class Flip:
    """A place in checksummed bytes."""

    byte: int
    """From the first checksummed byte on."""
    bit: int
    """0 is the lowest bit of the byte, 7 the highest."""

    @property
    def mask(self) -> int:
        """What the byte is to be combined with by exclusive or."""
        return 1 << self.bit


def find_flip(stored: int, computed: int, size: int, polynomial: Polynomial = CASTAGNOLI) -> Flip | None:
    """The one bit of `size` bytes whose flipping turns the CRC-32C `computed` into `stored`, both unmasked.

    None where no single bit does, and where more than one would: beyond 2**31 - 1 bits (256 MB; 512 MB for `ZIP`)
    places repeat, and none of them is certain. See `find_flips`.
    """
    found = find_flips(stored, computed, size, polynomial)
    return found[0] if len(found) == 1 else None


def find_flips(stored: int, computed: int, size: int, polynomial: Polynomial = CASTAGNOLI) -> tuple[Flip, ...]:
    """Every bit of `size` bytes that would do, first byte first; several only where `size` passes 256 MB."""
    difference = (stored ^ computed) & 0xFFFFFFFF
    bits = size * 8
    if bits <= 0 or not difference or (polynomial.even and difference.bit_count() % 2 == 0):
        return ()
    order, reflected = polynomial.order, polynomial.reflected
    value = _times(difference, _power(order - _WIDTH, reflected), reflected)
    found = _logarithm(value, min(bits, order), polynomial)
    if found is None:
        return ()
    places = (divmod(bits - 1 - behind, 8) for behind in range(found, bits, order))
    return tuple(sorted((Flip(byte, bit) for byte, bit in places), key=lambda flip: flip.byte))


def coincidence(size: int) -> float:
    """The chance that damage of another kind in `size` bytes looks like one flipped bit: bits / 2**32, at most 1."""
    return min(1.0, size * 8 / 2**32)


def _times(a: int, b: int, reflected: int) -> int:
    """The product of two polynomials modulo the CRC's."""
    product = 0
    while a:
        if a & _ONE:
            product ^= b
        a = (a << 1) & 0xFFFFFFFF
        b = (b >> 1) ^ (reflected if b & 1 else 0)
    return product


@lru_cache(maxsize=256)
def _power(exponent: int, reflected: int) -> int:
    """x**exponent, exponent from 0 on."""
    result, base = _ONE, _ONE >> 1
    while exponent:
        if exponent & 1:
            result = _times(result, base, reflected)
        base = _times(base, base, reflected)
        exponent >>= 1
    return result


@lru_cache(maxsize=128)
def _tables(factor: int, reflected: int) -> tuple[Words, ...]:
    """What each byte of a word becomes when the word is multiplied by `factor`: four tables of 256."""
    # bit 31 - k stands for x**k, so the product of bit b is factor * x**(31 - b)
    of_bit = []
    product = factor
    for _ in range(_WIDTH):
        of_bit.append(product)
        product = (product >> 1) ^ (reflected if product & 1 else 0)
    of_bit.reverse()
    tables = []
    for byte in range(4):
        table = np.zeros(256, np.uint32)
        for bit in range(8):
            table[1 << bit : 2 << bit] = table[: 1 << bit] ^ np.uint32(of_bit[byte * 8 + bit])
        tables.append(table)
    return tuple(tables)


def _progression(first: int, factor: int, count: int, reflected: int) -> Words:
    """first * factor**k for k from 0 to count - 1, by doubling."""
    words = np.empty(count, np.uint32)
    words[0] = first
    filled = 1
    while filled < count:
        more = min(filled, count - filled)
        known = words[:more]
        tables = _tables(factor, reflected)
        words[filled : filled + more] = (
            tables[0][known & 0xFF]
            ^ tables[1][known >> 8 & 0xFF]
            ^ tables[2][known >> 16 & 0xFF]
            ^ tables[3][known >> 24]
        )
        filled += more
        factor = _times(factor, factor, reflected)
    return words


def _logarithm(value: int, limit: int, polynomial: Polynomial) -> int | None:
    """The n in 0 .. limit - 1 with x**n equal to `value`; None where there is none. `limit` is at most the order."""
    reflected = polynomial.reflected
    baby, exponents = _baby_steps(reflected)
    giant = _progression(value, _power(polynomial.order - _STEP, reflected), -(-limit // _STEP), reflected)
    places = np.minimum(np.searchsorted(baby, giant), _STEP - 1)
    hits = np.flatnonzero(baby[places] == giant)
    if not hits.size:
        return None
    found = int(hits[0]) * _STEP + int(exponents[places[hits[0]]])
    return found if found < limit else None


@lru_cache(maxsize=2)
def _baby_steps(reflected: int) -> tuple[Words, np.ndarray[Any, np.dtype[np.intp]]]:
    """The first `_STEP` powers of x in ascending order, and the exponent of each."""
    steps = _progression(_ONE, _ONE >> 1, _STEP, reflected)
    order = np.argsort(steps)
    return steps[order], order
