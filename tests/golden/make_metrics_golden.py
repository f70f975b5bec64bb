#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes metrics.txt, which tests/test_metrics.c reads: PSNR and SSIM by BasicSR's definitions on
hashed pictures, SSIM by the full 11 x 11 window. Needs numpy.

A line: width height | channels and depth of a | of b | y crop | psnr ssim max_abs. Picture a of
line i is stream 2 i; picture b is a plus an eighth of stream 2 i + 1, less its mean, where channels
and depth are the same, else that stream itself.
"""
import math
import os

import numpy as np

from hash import numbers

CASES = [  # width, height, channels of a, depth, channels of b, depth, y, crop
    (11, 11, 1, 8, 1, 8, 0, 0),
    (23, 17, 3, 8, 3, 8, 0, 0),
    (23, 17, 3, 8, 3, 8, 1, 0),
    (29, 31, 3, 8, 3, 8, 1, 4),
    (29, 31, 3, 8, 3, 8, 0, 2),
    (19, 13, 4, 8, 4, 8, 0, 1),
    (19, 13, 4, 8, 4, 8, 1, 0),
    (19, 13, 2, 8, 2, 8, 0, 0),
    (19, 13, 2, 8, 2, 8, 1, 0),
    (14, 15, 3, 16, 3, 16, 0, 0),
    (14, 15, 3, 16, 3, 16, 1, 1),
    (14, 15, 1, 8, 3, 8, 0, 0),
    (14, 15, 3, 8, 2, 8, 1, 0),
    (14, 15, 3, 8, 3, 16, 0, 0),
    (10, 40, 3, 8, 3, 8, 0, 0),
    (12, 12, 3, 8, 3, 8, 0, 1),
    (1, 1, 3, 8, 3, 8, 1, 0),
]


def picture(seed, w, h, c, depth):
    return (numbers(seed, w * h * c) >> np.uint64(64 - depth)).astype(np.int64).reshape(h, w, c)


def pair(i, w, h, ca, da, cb, db):
    a = picture(2 * i, w, h, ca, da)
    b = picture(2 * i + 1, w, h, cb, db)
    if (ca, da) == (cb, db):
        b = np.clip(a + (b >> 3) - (1 << (da - 4)), 0, (1 << da) - 1)
    return a, b


def prepare(x, depth, colour, y):
    x = x[..., :1] if x.shape[2] < 3 else x[..., :3]
    if not y:
        v = x / (1.0 if depth == 8 else 257.0)
        return np.repeat(v, 3, 2) if colour and v.shape[2] == 1 else v
    v = x.astype(np.float32) / np.float32((1 << depth) - 1)
    # grey too: BasicSR's reader makes three equal colours of it
    v = np.dot(np.repeat(v, 3 // v.shape[2], 2), [65.481, 128.553, 24.966])[..., None] + 16.0
    v = (v / 255.0).astype(np.float32)
    return (v * np.float32(255.0)).astype(np.float64)


def ssim(a, b):
    if min(a.shape) < 11:
        return math.nan
    g = np.exp(-((np.arange(11) - 5.0) ** 2) / (2 * 1.5**2))
    g /= g.sum()
    window = np.outer(g, g)
    windows = np.lib.stride_tricks.sliding_window_view
    mean = lambda v: np.einsum("yxij,ij", windows(v, (11, 11)), window)
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    ma, mb = mean(a), mean(b)
    va, vb, vab = mean(a * a) - ma**2, mean(b * b) - mb**2, mean(a * b) - ma * mb
    return (((2 * ma * mb + c1) * (2 * vab + c2)) / ((ma**2 + mb**2 + c1) * (va + vb + c2))).mean()


def main():
    path = os.path.join(os.path.dirname(os.path.abspath(__file__)), "metrics.txt")
    with open(path, "w") as f:
        for i, (w, h, ca, da, cb, db, y, crop) in enumerate(CASES):
            a, b = pair(i, w, h, ca, da, cb, db)
            colour = ca > 2 or cb > 2
            a, b = (prepare(v, d, colour, y) for v, d in ((a, da), (b, db)))
            a, b = (v[crop : h - crop, crop : w - crop] for v in (a, b))
            psnr = 10 * math.log10(255**2 / ((a - b) ** 2).mean())
            s = np.mean([ssim(a[..., c], b[..., c]) for c in range(a.shape[2])])
            f.write(f"{w} {h} {ca} {da} {cb} {db} {y} {crop} ")
            f.write(f"{psnr:.17g} {s:.17g} {abs(a - b).max():.17g}\n")


main()
