#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes resize.bin, which tests/test_resize.c reads: what Pillow, PyTorch and MATLAB make of
hashed pictures. Needs numpy, Pillow and PyTorch; made with Pillow 13.0.0 and PyTorch 2.11.0
(x86-64, AVX2).

MATLAB is rendered here in numpy as dense double matrices; that its 8-bit form is MATLAB's own shows
in the benchmark's low-resolution pictures, which tests/test_resize_data.c compares.

The file: "ORSZ", the number of records, and records of nine int32 (kind, rule, filter, channels,
source width and height, width and height, bytes of data) and the data, (Y, X, C), little-endian.
The seed of record i is i. Kinds: 0 8-bit picture; 1 f32 tensor; 2 16-bit picture, its samples
before rounding as f32.
"""
import os
import struct

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image

from hash import numbers, unit

PIL, TORCH, MATLAB = range(3)
BICUBIC, BILINEAR, LANCZOS3, AREA, NEAREST = range(5)
FILTER = {
    BICUBIC: Image.Resampling.BICUBIC,
    BILINEAR: Image.Resampling.BILINEAR,
    LANCZOS3: Image.Resampling.LANCZOS,
    AREA: Image.Resampling.BOX,
    NEAREST: Image.Resampling.NEAREST,
}
MODE = {1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}

# widths and heights: odd, prime, 1; up, down, both, one axis alone, whole factors
SIZES = [
    ((7, 5), (13, 11)),
    ((13, 11), (7, 5)),
    ((1, 1), (5, 3)),
    ((17, 1), (1, 9)),
    ((1, 19), (6, 1)),
    ((31, 29), (3, 2)),
    ((11, 13), (22, 17)),
    ((12, 8), (3, 2)),
    ((5, 7), (5, 14)),
    ((9, 6), (20, 6)),
    ((64, 3), (2, 7)),
    ((61, 2), (1, 1)),
    ((3, 4), (3, 4)),
]


def picture(seed, width, height, channels):
    """8 bits; alpha is 0, 255 and between, about as often each."""
    v = (numbers(seed, width * height * channels) >> np.uint64(56)).astype(np.int64)
    v = v.reshape(height, width, channels)
    if channels in (2, 4):
        a = v[..., -1]
        v[..., -1] = np.where(a < 80, 0, np.where(a >= 176, 255, a))
    return v.astype(np.uint8)


def pil8(x, width, height, filter):
    """Along x, then along y, whatever the Pillow: from 13 on it goes the other way round where the
    height shrinks much more than the width."""
    h, w, c = x.shape
    im = Image.fromarray(x[..., 0] if c == 1 else x, MODE[c])
    if c in (2, 4) and filter != NEAREST and (w, h) != (width, height):
        im = im.convert({2: "La", 4: "RGBa"}[c])
    im = im.resize((width, h), FILTER[filter]).resize((width, height), FILTER[filter])
    return np.asarray(im.convert(MODE[c])).reshape(height, width, c)


def pil_float(x, width, height, filter):
    planes = [Image.fromarray(np.ascontiguousarray(x[..., c]), "F") for c in range(x.shape[2])]
    return np.stack([np.asarray(p.resize((width, height), FILTER[filter])) for p in planes], -1)


def torch_float(x, width, height, filter):
    mode = {BICUBIC: "bicubic", BILINEAR: "bilinear", AREA: "area", NEAREST: "nearest"}[filter]
    t = torch.from_numpy(x).permute(2, 0, 1)[None]
    return F.interpolate(t, size=(height, width), mode=mode)[0].permute(1, 2, 0).numpy()


def matlab_matrix(n, m, filter):
    """imresize of n samples to m as a matrix (m, n)."""
    scale = m / n
    if filter == BICUBIC:
        width = 4.0
        near = lambda a: 1.5 * a**3 - 2.5 * a**2 + 1
        far = lambda a: -0.5 * a**3 + 2.5 * a**2 - 4 * a + 2
        kernel = lambda a: np.where(a <= 1, near(a), np.where(a <= 2, far(a), 0))
    else:
        width = 2.0
        kernel = lambda a: np.maximum(1 - a, 0)
    squeeze = min(scale, 1.0)
    u = np.arange(1, m + 1) / scale + 0.5 * (1 - 1 / scale)
    taps = np.floor(u - width / squeeze / 2)[:, None] + np.arange(np.ceil(width / squeeze) + 2)
    w = squeeze * kernel(np.abs(squeeze * (u[:, None] - taps)))
    w /= w.sum(1, keepdims=True)
    j = np.concatenate([np.arange(n), np.arange(n)[::-1]])[np.mod(taps - 1, 2 * n).astype(int)]
    matrix = np.zeros((m, n))
    for i in range(m):
        np.add.at(matrix[i], j[i], w[i])
    return matrix


def matlab(x, width, height, filter, between=lambda v: v):
    """`between` is applied after each axis; the axis that shrinks more goes first."""
    x = x.astype(np.float64)
    rows = lambda v: between(np.einsum("ij,jkc->ikc", matlab_matrix(v.shape[0], height, filter), v))
    cols = lambda v: between(np.einsum("ij,kjc->kic", matlab_matrix(v.shape[1], width, filter), v))
    x_first = width * x.shape[0] < height * x.shape[1]
    same = (height, width) == x.shape[:2]
    return x if same else rows(cols(x)) if x_first else cols(rows(x))


def matlab8(x, width, height, filter):
    """None where a sum is halfway between levels but for the last bits of the weights."""
    made = []
    for nudge in (-1e-11, 1e-11):
        half_up = lambda v: np.floor(np.clip(v, 0, 255) + 0.5 + nudge)
        made.append(matlab(x, width, height, filter, half_up).astype(np.uint8))
    whole = lambda a, b: max(a, b) in (min(a, b) * k for k in (1, 2, 4))
    if whole(x.shape[1], width) and whole(x.shape[0], height):  # weights are exact, halves go up
        return made[1]
    return made[0] if np.array_equal(*made) else None


def pil16(x, width, height, filter):
    """Samples 0..65535 before rounding, clamped."""
    return np.clip(pil_float(x.astype(np.float32), width, height, filter), 0, 65535)


def cases():
    for channels, filters in ((1, range(5)), (3, range(5)), (2, (0, 2, 4)), (4, (0, 2, 4))):
        for f in filters:
            yield from ((0, PIL, f, channels, s, d) for s, d in SIZES)
    for channels in (1, 3):
        for f in (BICUBIC, BILINEAR):
            yield from ((0, MATLAB, f, channels, s, d) for s, d in SIZES)
    for rule, filters in ((PIL, range(5)), (TORCH, (0, 1, 3, 4)), (MATLAB, (0, 1))):
        for f in filters:
            yield from ((1, rule, f, 1, s, d) for s, d in SIZES)
    # coordinates so far out that the last bit of a float is seen in the result
    for f in (BICUBIC, BILINEAR, NEAREST):
        yield 1, TORCH, f, 1, (4001, 1), (1009, 1)
        yield 1, TORCH, f, 1, (1, 3001), (1, 701)
    for channels in (1, 3):
        for f in (BICUBIC, NEAREST):
            yield from ((2, PIL, f, channels, s, d) for s, d in SIZES[:6])


def render(seed, kind, rule, filter, channels, src, dst):
    if kind == 0:
        made = {PIL: pil8, MATLAB: matlab8}[rule](picture(seed, *src, channels), *dst, filter)
        return made
    if kind == 1:
        x = unit(seed, src[1], src[0], channels)
        made = {PIL: pil_float, TORCH: torch_float, MATLAB: matlab}[rule](x, *dst, filter)
        return made.astype(np.float32)
    x = (numbers(seed, src[0] * src[1] * channels) >> np.uint64(48)).astype(np.uint16)
    return pil16(x.reshape(src[1], src[0], channels), *dst, filter).astype(np.float32)


def main():
    torch.set_num_threads(1)
    records = []
    for case in cases():
        data = render(len(records), *case)
        if data is not None:
            records.append((case, data))
    path = os.path.join(os.path.dirname(os.path.abspath(__file__)), "resize.bin")
    with open(path, "wb") as f:
        f.write(b"ORSZ" + struct.pack("<i", len(records)))
        for (kind, rule, filter, channels, src, dst), data in records:
            assert data.shape == (dst[1], dst[0], channels), (data.shape, dst)
            data = np.ascontiguousarray(data).tobytes()
            f.write(struct.pack("<9i", kind, rule, filter, channels, *src, *dst, len(data)) + data)
    print(f"{path}: {len(records)} records, {os.path.getsize(path)} bytes")


main()
