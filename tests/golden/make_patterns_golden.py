# SPDX-License-Identifier: Apache-2.0
"""golden/patterns.txt and golden/patterns.bin: what the project's NumPy oracle of video attention says.

    python tests/golden/make_patterns_golden.py PATH/video_oracle.py

The oracle is not in this tree. The text holds its rules (which keys, windows, widths) for drawn parameters, which
the tests of patterns must repeat; the numbers, float32, are 32 outputs of each layer there, a sum of all outputs and
a sum of all log-sum-exps with weights from a hash. Inputs come from the counter hash: nothing is stored.
"""
import importlib.util
import os
import random
import sys

import numpy as np

here = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, here)
import hash as counter  # noqa: E402

spec = importlib.util.spec_from_file_location("video_oracle", sys.argv[1])
oracle = importlib.util.module_from_spec(spec)
spec.loader.exec_module(oracle)
pick, lines, out = random.Random(2), [], []


def row(*words):
    lines.append(" ".join(map(str, words)))


def rules():
    for _ in range(150):
        c, k = pick.randint(1, 12), 2 * pick.randint(0, 5) + 1
        k = k if pick.random() < 0.8 else c
        q = pick.randrange(c)
        row("sta", c, k, q, *oracle.sta_range(q, c, k))
    for _ in range(150):
        n, d = pick.randint(1, 60), pick.randint(0, 31)
        q = pick.randrange(n)
        row("freeswim", n, d, q, *oracle.freeswim_range(q, n, d))
    sizes = [(pick.randint(1, 40), pick.randint(8, 140), pick.randint(8, 140)) for _ in range(150)]
    for size in [*sizes, (5, 289, 576), (5, 576, 841)]:  # the last two have halves to round
        shifted = pick.random() < 0.5
        windows, most = oracle.seedvr_windows(size, shifted=shifted)
        edges = [sorted({w[axis] for w in windows}) for axis in range(3)]
        row("seedvr", *size, int(shifted), *most, *[len(e) for e in edges], *[b for e in edges for a, b in e])
    for _ in range(250):
        i, j, s = pick.randrange(34), pick.randrange(34), pick.choice((12, 60, 880, 1560, 3600))
        block, decay = pick.choice((4, 16, 128)), pick.choice((0.5, 1.0, 1.5))
        sink = pick.randrange(2)
        width = oracle.radial_rule(i, j, s, block, decay, sink)
        row("radial", i, j, s, block, decay, sink, -1 if width is None else width)


def data(seed, heads, tokens, dim):
    return (2 * counter.unit(seed, 3, heads, tokens, dim).astype(np.float64) - 1) * 2


def keep(seed, o, lse):
    """o (H, N, D), lse (H, N) or None"""
    flat = o.reshape(-1)
    at = counter.numbers(seed + 100000, 32) % np.uint64(flat.size)
    weight = 2 * counter.unit(seed + 200000, flat.size).astype(np.float64) - 1
    out.extend([*flat[at.astype(int)], float((flat * weight).sum())])
    out.append(0 if lse is None else float((lse.reshape(-1) * weight[:lse.size]).sum()))


def layers():
    seed = 50
    q, k, v = data(seed, 3, 6 * 8 * 9 + 11, 24)
    keep(seed, *oracle.sta_attention(q, k, v, (6, 8, 9), (2, 2, 3), [(3, 1, 3), (1, 3, 3), (3, 4, 1)], 7))

    for shifted in (False, True):
        seed, size, text = 51 + shifted, (5, 30, 53), 6
        n = int(np.prod(size))
        q, k, v = data(seed, 1, n + text, 8)
        ids, o, lse = np.arange(n).reshape(size), np.zeros((1, n + text, 8)), np.zeros((1, n))
        windows, _ = oracle.seedvr_windows(size, shifted=shifted)
        tail = np.arange(n, n + text)
        for a, b, c in windows:
            own = ids[a[0]:a[1], b[0]:b[1], c[0]:c[1]].reshape(-1)
            keys = np.concatenate([own, tail])
            o[:, own], lse[:, own] = oracle.attend(q[:, own], k[:, keys], v[:, keys])
            o[:, tail] += oracle.attend(q[:, tail], k[:, keys], v[:, keys])[0] / len(windows)
        keep(seed, o, lse)

    seed, (t, y, x), dy, dx = 53, (3, 9, 13), 2, 4
    q, k, v = data(seed, 2, t * y * x, 16)
    grid = np.indices((t, y, x)).reshape(3, -1)
    in_y = np.array([[lo <= j < hi for j in range(y)] for lo, hi in (oracle.freeswim_range(i, y, dy) for i in range(y))])
    in_x = np.array([[lo <= j < hi for j in range(x)] for lo, hi in (oracle.freeswim_range(i, x, dx) for i in range(x))])
    mask = in_y[grid[1][:, None], grid[1]] & in_x[grid[2][:, None], grid[2]]
    keep(seed, *oracle.attend(q, k, v, mask, oracle.freeswim_scale(16)))

    seed, frames, s, block = 54, 9, 60, 12
    q, k, v = data(seed, 2, frames * s, 16)
    mask = np.zeros((frames * s, frames * s), bool)
    gap = np.abs(np.arange(s)[:, None] - np.arange(s))
    for i in range(frames):
        for j in range(frames):
            width = oracle.radial_rule(i, j, s, block)
            if width is not None:
                mask[i * s:(i + 1) * s, j * s:(j + 1) * s] = gap <= width
    # a block is kept if more than 0.6 of the columns that are not empty are more than a third full
    column = mask.reshape(frames * s // block, block, frames * s // block, block).mean(1)
    blocks = (column > 1 / 3).sum(-1) > 0.6 * (column > 0).sum(-1)
    keep(seed, *oracle.attend(q, k, v, np.repeat(np.repeat(blocks, block, 0), block, 1)))

    seed, sizes, topk = 55, (64, 64, 32, 64, 64, 32, 48, 48, 24), 3
    q, k, v = data(seed, 2, sum(sizes), 32)
    gate = (2 * counter.unit(seed + 300000, 2, sum(sizes), 32).astype(np.float64) - 1) * 2
    o, _ = oracle.vsa(q, k, v, sizes, topk, gate)
    keep(seed, o, None)

    seed, rows, columns = 56, 4, 5
    q, k, v = data(seed, 2, 3 * rows * columns, 128)
    at = oracle.grid_pos((1000, 1001, 1002), rows, columns)
    keep(seed, *oracle.attend(oracle.rope3d(q, at), oracle.rope3d(k, at), v))


rules()
layers()
with open(os.path.join(here, "patterns.txt"), "w") as f:
    f.write("\n".join(lines) + "\n")
np.array(out, np.float32).tofile(os.path.join(here, "patterns.bin"))
print(len(lines), "lines,", len(out), "numbers")
