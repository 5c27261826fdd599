"""The CRC-32C of two pieces laid end to end, from those of the pieces.

A CRC is the remainder of a polynomial over GF(2) (Castagnoli's, bits reflected). Bytes that follow move it up by eight
powers of x each, so it is multiplied by x^(8n) modulo the polynomial and added to the CRC of what follows: the initial
value and the final inversion of both cancel out. About 32 multiplications, however long the second piece is.
"""

from __future__ import annotations

import functools

POLYNOMIAL = 0x82F63B78
"""Without its highest term; bit 31 stands for x^0."""
_ONE = 1 << 31


def combined(first: int, second: int, second_bytes: int) -> int:
    """The CRC-32C of A + B from those of A and of B, which has `second_bytes` bytes. Raises ValueError below 0."""
    if second_bytes < 0:
        raise ValueError(second_bytes)
    return _times(_shift(second_bytes), first) ^ second


def _times(a: int, b: int) -> int:
    """The product of two remainders."""
    product = 0
    while a:
        if a & _ONE:
            product ^= b
        a = a << 1 & 0xFFFFFFFF
        b = b >> 1 ^ (POLYNOMIAL if b & 1 else 0)
    return product


@functools.lru_cache(64)
def _shift(count: int) -> int:
    """x^(8 count): the square and multiply method."""
    power, result = _ONE >> 8, _ONE
    while count:
        if count & 1:
            result = _times(power, result)
        power = _times(power, power)
        count >>= 1
    return result


def of_bytes(data: bytes) -> int:
    """The CRC-32C of a few bytes, one after the other."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (POLYNOMIAL if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


@functools.lru_cache(256)
def of_repeated(element: bytes, count: int) -> int:
    """The CRC-32C of `element` written down `count` times, in time that grows with the logarithm of `count`."""
    power, size, result = of_bytes(element), len(element), 0
    while count > 0:
        if count & 1:
            result = combined(result, power, size)
        power = combined(power, power, size)
        size *= 2
        count >>= 1
    return result
