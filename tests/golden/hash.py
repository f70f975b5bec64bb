# SPDX-License-Identifier: Apache-2.0
"""tests/hash.h in numpy."""
import numpy as np


def numbers(seed, count):
    """The first `count` numbers of stream `seed`, uint64."""
    with np.errstate(over="ignore"):
        z = np.arange(1, count + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
        z += np.uint64(seed << 32)
        z = (z ^ z >> np.uint64(30)) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ z >> np.uint64(27)) * np.uint64(0x94D049BB133111EB)
        return z ^ z >> np.uint64(31)


def unit(seed, *shape):
    """float32 in [0, 1) of this shape, the last axis fastest."""
    z = numbers(seed, int(np.prod(shape))) >> np.uint64(40)
    return (z.astype(np.float64) * 2.0**-24).astype(np.float32).reshape(shape)
