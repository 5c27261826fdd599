"""HighwayHash-64, which vouches for every header and every chunk of a Riegeli file.

Algorithm: Alakuijala, Cox, Wassenberg, "Fast keyed hash/pseudo-random function using SIMD multiply and permute"
(arXiv 1612.06257), with the key of Riegeli's file format.
"""

from __future__ import annotations

import struct

_KEY = struct.unpack("<4Q", b"Riegeli/records\n" * 2)
_MUL0 = (0xDBE6D5D5FE4CCE2F, 0xA4093822299F31D0, 0x13198A2E03707344, 0x243F6A8885A308D3)
_MUL1 = (0x3BD39E10CB0EF593, 0xC0ACF169B5F18A8C, 0xBE5466CF34E90C6C, 0x452821E638D01377)
_U64 = 0xFFFF_FFFF_FFFF_FFFF
_U32 = 0xFFFF_FFFF
PACKET = 32

# Which byte of a pair of lanes (low lane's bytes 0 to 7, high lane's 8 to 15) goes where when they are mixed.
_LOW = (3, 12, 2, 5, 14, 1, 15, 0)
_HIGH = (11, 4, 10, 13, 9, 6, 8, 7)


class _State:
    def __init__(self) -> None:
        self.mul0, self.mul1 = list(_MUL0), list(_MUL1)
        self.v0 = [mul ^ key for mul, key in zip(_MUL0, _KEY, strict=True)]
        self.v1 = [mul ^ _swapped(key) for mul, key in zip(_MUL1, _KEY, strict=True)]

    def update(self, lanes: tuple[int, ...]) -> None:
        v0, v1, mul0, mul1 = self.v0, self.v1, self.mul0, self.mul1
        for i in range(4):
            v1[i] = (v1[i] + mul0[i] + lanes[i]) & _U64
            mul0[i] ^= (v1[i] & _U32) * (v0[i] >> 32)
            v0[i] = (v0[i] + mul1[i]) & _U64
            mul1[i] ^= (v0[i] & _U32) * (v1[i] >> 32)
        for source, target in ((v1, v0), (v0, v1)):
            for low in (0, 2):
                pair = struct.pack("<2Q", source[low], source[low + 1])
                target[low] = (target[low] + int.from_bytes(bytes(pair[i] for i in _LOW), "little")) & _U64
                mixed = int.from_bytes(bytes(pair[i] for i in _HIGH), "little")
                target[low + 1] = (target[low + 1] + mixed) & _U64

    def remainder(self, rest: bytes) -> None:
        count = len(rest)
        self.v0 = [(lane + (count << 32) + count) & _U64 for lane in self.v0]
        self.v1 = [_rotated(lane, count) for lane in self.v1]
        packet = bytearray(PACKET)
        whole = count & ~3
        packet[:whole] = rest[:whole]
        odd = count & 3
        if count & 16:
            packet[28:32] = rest[count - 4 :]
        elif odd:
            tail = rest[whole:]
            packet[16:19] = bytes((tail[0], tail[odd >> 1], tail[odd - 1]))
        self.update(struct.unpack("<4Q", packet))

    def digest(self) -> int:
        """The hash of all that was taken."""
        for _ in range(4):
            self.update(tuple(_swapped(self.v0[i]) for i in (2, 3, 0, 1)))
        total: int = self.v0[0] + self.v1[0] + self.mul0[0] + self.mul1[0]
        return total & _U64


def riegeli_hash(data: bytes) -> int:
    """The 64-bit hash of `data` under Riegeli's key; about a megabyte a second."""
    state = _State()
    whole = len(data) - len(data) % PACKET
    lanes: tuple[int, ...]
    for lanes in struct.iter_unpack("<4Q", data[:whole]):
        state.update(lanes)
    if whole < len(data):
        state.remainder(data[whole:])
    return state.digest()


def _swapped(lane: int) -> int:
    return (lane >> 32) | (lane << 32) & _U64


def _rotated(lane: int, count: int) -> int:
    """Both halves of a lane rotated left; `count` is 1 to 31."""
    low, high = lane & _U32, lane >> 32
    low = (low << count | low >> (32 - count)) & _U32
    high = (high << count | high >> (32 - count)) & _U32
    return high << 32 | low
