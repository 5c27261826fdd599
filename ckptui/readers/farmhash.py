"""FarmHash's 64-bit fingerprint, the hash by which a SavedModel's fingerprint.pb knows its checkpoint index.

Definition: `Fingerprint64` of FarmHash 1.1 (Pike, Alakuijala; the `farmhashna` variant), whose value for given bytes
is promised never to change. All arithmetic is modulo 2**64, all words are little-endian.
"""

from __future__ import annotations

import struct

_K0 = 0xC3A5C85C97CB3127
_K1 = 0xB492B66FBE98F273
_K2 = 0x9AE16A3B2F90404F
_MASK = 0xFFFF_FFFF_FFFF_FFFF
_SEED = 81

_Words = tuple[int, ...]


def fingerprint64(data: bytes) -> int:
    """The 64-bit fingerprint of `data`; about 5 MB a second."""
    size = len(data)
    if size > 64:
        return _long(data)
    if size > 32:
        return _to_64(data)
    if size > 16:
        return _to_32(data)
    return _to_16(data)


def _rotate(value: int, by: int) -> int:
    """To the right; what `value` has above 64 bits is dropped first."""
    value &= _MASK
    return (value >> by) | (value << (64 - by)) & _MASK


def _mix(value: int) -> int:
    value &= _MASK
    return value ^ value >> 47


def _pair(low: int, high: int, factor: int) -> int:
    """Two words made one."""
    first = _mix((low ^ high) * factor)
    return _mix((high ^ first) * factor) * factor & _MASK


def _word(data: bytes, at: int) -> int:
    return int.from_bytes(data[at : at + 8], "little")


def _to_16(data: bytes) -> int:
    size = len(data)
    factor = _K2 + size * 2
    if size >= 8:
        first, last = _word(data, 0) + _K2, _word(data, size - 8)
        return _pair((_rotate(last, 37) * factor + first) & _MASK, (_rotate(first, 25) + last) * factor & _MASK, factor)
    if size >= 4:
        first, last = int.from_bytes(data[:4], "little"), int.from_bytes(data[-4:], "little")
        return _pair(size + (first << 3), last, factor)
    if size:
        low = data[0] + (data[size >> 1] << 8)
        high = size + (data[-1] << 2)
        return _mix(low * _K2 ^ high * _K0) * _K2 & _MASK
    return _K2


def _to_32(data: bytes) -> int:
    size = len(data)
    factor = _K2 + size * 2
    a, b = _word(data, 0) * _K1 & _MASK, _word(data, 8)
    c, d = _word(data, size - 8) * factor, _word(data, size - 16) * _K2
    return _pair((_rotate(a + b, 43) + _rotate(c, 30) + d) & _MASK, (a + _rotate(b + _K2, 18) + c) & _MASK, factor)


def _to_64(data: bytes) -> int:
    size = len(data)
    factor = _K2 + size * 2
    a, b = _word(data, 0) * _K2 & _MASK, _word(data, 8)
    c, d = _word(data, size - 8) * factor, _word(data, size - 16) * _K2
    y = (_rotate(a + b, 43) + _rotate(c, 30) + d) & _MASK
    z = _pair(y, (a + _rotate(b + _K2, 18) + c) & _MASK, factor)
    e, f = _word(data, 16) * factor & _MASK, _word(data, 24)
    g, h = (y + _word(data, size - 32)) * factor, (z + _word(data, size - 24)) * factor
    return _pair((_rotate(e + f, 43) + _rotate(g, 30) + h) & _MASK, (e + _rotate(f + a, 18) + g) & _MASK, factor)


def _weak(words: _Words, a: int, b: int) -> tuple[int, int]:
    """Four words and two seeds made two words."""
    a += words[0]
    b = _rotate(b + a + words[3], 21)
    c = a
    a += words[1] + words[2]
    b += _rotate(a, 44)
    return a + words[3] & _MASK, b + c & _MASK


def _long(data: bytes) -> int:
    """More than 64 bytes: 64 at a time, and the last 64 once more, whatever they overlap."""
    size = len(data)
    whole = (size - 1) // 64 * 64
    x = _SEED * _K2 + _word(data, 0)
    y = (_SEED * _K1 + 113) & _MASK
    z = _mix(y * _K2 + 113) * _K2
    v, w = (0, 0), (0, 0)
    for words in struct.iter_unpack("<8Q", memoryview(data)[:whole]):
        x, y, z, v, w = _step(words, x, y, z, v, w, _K1, 1)
    factor = _K1 + ((z & 0xFF) << 1)
    rest = size - 1 & 63
    first = w[0] + rest
    v = (v[0] + first, v[1])
    w = (first + v[0], w[1])
    x, y, z, v, w = _step(struct.unpack("<8Q", data[-64:]), x, y, z, v, w, factor, 9)
    low = _pair(v[0], w[0], factor) + _mix(y) * _K0 + z
    return _pair(low & _MASK, _pair(v[1], w[1], factor) + x & _MASK, factor)


def _step(
    words: _Words, x: int, y: int, z: int, v: tuple[int, int], w: tuple[int, int], factor: int, weight: int
) -> tuple[int, int, int, tuple[int, int], tuple[int, int]]:
    """Take in 64 bytes; the last ones do it with another factor and weight."""
    x = _rotate(x + y + v[0] + words[1], 37) * factor
    y = _rotate(y + v[1] + words[6], 42) * factor
    x = (x ^ w[1] * weight) & _MASK
    y = (y + v[0] * weight + words[5]) & _MASK
    z = _rotate(z + w[0], 33) * factor & _MASK
    v = _weak(words[:4], v[1] * factor, x + w[0])
    w = _weak(words[4:], z + w[1], y + words[2])
    return z, y, x, v, w
