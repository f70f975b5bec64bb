#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Attention over windows on the CPU: oriel beside the best that PyTorch offers, in one run.

    bench/attn_torch.py BUILD/bench/bench_attn [PATTERN] [--threads 2] [--rounds 5]

Each problem of bench_attn starts and ends with tensors of (1, T, Y, X, H, D), fp32. PyTorch's ways:

  unfold    neighbourhoods: rows of keys and values gathered by index, eager; query chunks keep it in memory
  flex      FlexAttention compiled, block mask made beforehand (raster order)
  flex-tile the same with tokens permuted into boxes of 128, permutation outside the clock
  sdpa      windows and whole clips: scaled_dot_product_attention, additive bias and mask
  eager     windows: matmul, bias, mask, softmax, matmul, as published networks write it
  compiled  the same through torch.compile

The programs take turns; a figure is the median of its rounds; the ratio is to PyTorch's best.
"""
import argparse
import csv
import io
import itertools
import statistics
import subprocess
import time

import torch
import torch.nn.functional as F
from torch.nn.attention.flex_attention import create_block_mask, flex_attention

NEAR = {  # name: heads, dim, extent, size, causal in time
    "na 56x56 k7": (4, 32, (1, 56, 56), (1, 7, 7), False),
    "na 128x128 k13": (4, 32, (1, 128, 128), (1, 13, 13), False),
    "na 16x32x32 k5x9x9 causal": (4, 32, (16, 32, 32), (5, 9, 9), True),
}
WINDOW = {  # name: heads, dim, side of the map, of the window, shift, bias
    "swin 56x56 w7 bias": (3, 32, 56, 7, 0),
    "swin 64x64 w8 bias": (6, 30, 64, 8, 0),
    "swin 64x64 w8 s4 bias": (6, 30, 64, 8, 4),
    "hat 64x64 w16 bias": (6, 30, 64, 16, 0),
}
TILES = {  # name: heads, dim, extent, tile: the window is one tile, or the clip
    "sta 12x24x24 tile 6x8x8": (2, 64, (12, 24, 24), None),
    "sta 12x24x24 one tile": (2, 64, (12, 24, 24), (6, 8, 8)),
}
BOX = {1: (1, 8, 16), 16: (4, 4, 8)}  # 128 tokens for flex-tile, by T


def tokens(extent):
    return extent[0] * extent[1] * extent[2]


def spans(extent, size, causal):
    """First key and number of keys along each axis for each coordinate: neighbourhoods moved inside."""
    out = []
    for axis, (n, k) in enumerate(zip(extent, size)):
        i = torch.arange(n)
        if causal and axis == 0:
            first = (i - k + 1).clamp(min=0)
            out.append((first, i + 1))
        else:
            first = (i - k // 2).clamp(0, n - k)
            out.append((first, first + k))
    return out


def near_unfold(q, k, v, extent, size, causal):
    """Gathered rows; a key before the clip (causal) is masked."""
    span = spans(extent, size, causal)
    index, dead = None, None
    for axis, n in enumerate(extent):
        first, end = span[axis]
        at = (end - size[axis]).unsqueeze(1) + torch.arange(size[axis])
        gone = at < first.unsqueeze(1)
        at = at.clamp(min=0)
        index = at if index is None else (index[:, None, :, None] * n + at[None, :, None, :]).flatten(0, 1).flatten(1)
        dead = gone if dead is None else (dead[:, None, :, None] | gone[None, :, None, :]).flatten(0, 1).flatten(1)
    bias = torch.zeros(dead.shape).masked_fill(dead, float("-inf"))
    heads, dim = q.shape[-2:]
    chunk = max(1, (1 << 25) // (index.shape[1] * heads * dim))

    def run():
        a, b, c = (x.reshape(-1, heads, dim) for x in (q, k, v))
        out = torch.empty_like(a)
        for i in range(0, a.shape[0], chunk):
            at = index[i:i + chunk]
            s = torch.einsum("nhd,njhd->nhj", a[i:i + chunk], b[at]) * dim ** -0.5 + bias[i:i + chunk, None]
            out[i:i + chunk] = torch.einsum("nhj,njhd->nhd", s.softmax(-1), c[at])
        return out.view(q.shape)
    return run


def near_flex(q, k, v, extent, size, causal, box):
    """FlexAttention; box: tokens in the order of boxes."""
    span = spans(extent, size, causal)
    grid = torch.stack(torch.meshgrid(*(torch.arange(n) for n in extent), indexing="ij")).flatten(1)
    n = tokens(extent)
    order = torch.arange(n)
    if box:
        t, y, x = extent
        a, b, c = box
        order = order.view(t // a, a, y // b, b, x // c, c).permute(0, 2, 4, 1, 3, 5).reshape(-1)
    at = grid[:, order]
    low, high = (torch.stack([span[d][e][at[d]] for d in range(3)]) for e in (0, 1))

    def sees(batch, head, i, j):
        keep = (at[0][j] >= low[0][i]) & (at[0][j] < high[0][i])
        for d in (1, 2):
            keep = keep & (at[d][j] >= low[d][i]) & (at[d][j] < high[d][i])
        return keep

    mask = create_block_mask(sees, None, None, n, n, device="cpu")
    go = torch.compile(flex_attention)
    heads, dim = q.shape[-2:]
    if box:
        a, b, c = (x.reshape(n, heads, dim)[order].transpose(0, 1)[None].contiguous() for x in (q, k, v))
        return lambda: go(a, b, c, block_mask=mask), order

    def run():
        a, b, c = (x.reshape(1, n, heads, dim).transpose(1, 2) for x in (q, k, v))
        return go(a, b, c, block_mask=mask).transpose(1, 2).reshape(q.shape)
    return run


def window_ways(q, k, v, side, w, shift):
    """Eager, compiled, SDPA on windows cut from the map and put back, as Swin does."""
    heads, dim = q.shape[-2:]
    n, per = w * w, side // w
    table = torch.rand((2 * w - 1) ** 2, heads)
    yx = torch.stack(torch.meshgrid(torch.arange(w), torch.arange(w), indexing="ij")).flatten(1)
    d = yx[:, :, None] - yx[:, None, :] + w - 1
    bias = table[(d[0] * (2 * w - 1) + d[1]).reshape(-1)].view(n, n, heads).permute(2, 0, 1).contiguous()
    mask = bias[None]
    if shift:
        region = torch.zeros(side, side)
        parts = (slice(0, -w), slice(-w, -shift), slice(-shift, None))
        for r, (a, b) in enumerate(itertools.product(parts, parts)):
            region[a, b] = r
        region = region.view(per, w, per, w).transpose(1, 2).reshape(-1, n)
        mask = bias[None] + torch.where(region[:, None, :] != region[:, :, None], -100.0, 0.0)[:, None]

    def cut(x):
        x = x.view(side, side, heads, dim)
        if shift:
            x = x.roll((-shift, -shift), (0, 1))
        return x.view(per, w, per, w, heads, dim).permute(0, 2, 4, 1, 3, 5).reshape(-1, heads, n, dim)

    def join(x):
        x = x.view(per, per, heads, w, w, dim).permute(0, 3, 1, 4, 2, 5).reshape(side, side, heads, dim)
        return x.roll((shift, shift), (0, 1)) if shift else x

    def plain(q, k, v):
        s = (cut(q) * dim ** -0.5) @ cut(k).transpose(-1, -2) + mask
        return join(s.softmax(-1) @ cut(v))

    def sdpa(q, k, v):
        return join(F.scaled_dot_product_attention(cut(q), cut(k), cut(v), attn_mask=mask))

    compiled = torch.compile(plain)
    return {"eager": lambda: plain(q, k, v), "compiled": lambda: compiled(q, k, v), "sdpa": lambda: sdpa(q, k, v)}


def tile_ways(q, k, v, extent, tile):
    heads, dim = q.shape[-2:]
    a, b, c = tile or extent
    t, y, x = (n // m for n, m in zip(extent, (a, b, c)))

    def run():
        p, r, s = (z.reshape(t, a, y, b, x, c, heads, dim).permute(0, 2, 4, 6, 1, 3, 5, 7)
                   .reshape(t * y * x, heads, a * b * c, dim) for z in (q, k, v))
        out = F.scaled_dot_product_attention(p, r, s)
        return out.view(t, y, x, heads, a, b, c, dim).permute(0, 4, 1, 5, 2, 6, 3, 7).reshape(q.shape)
    return {"sdpa": run}


def ways(name, flex):
    heads, dim, extent = (NEAR.get(name) or TILES.get(name) or WINDOW[name])[:3]
    if name in WINDOW:
        extent = (1, extent, extent)
    q, k, v = (torch.rand(1, *extent, heads, dim) for _ in range(3))
    if name in WINDOW:
        return window_ways(q, k, v, *WINDOW[name][2:])
    if name in TILES:
        return tile_ways(q, k, v, extent, TILES[name][3])
    size, causal = NEAR[name][3:]
    out = {"unfold": near_unfold(q, k, v, extent, size, causal)}
    if flex:
        want = out["unfold"]()
        out["flex"] = near_flex(q, k, v, extent, size, causal, None)
        torch.testing.assert_close(out["flex"](), want, rtol=1e-4, atol=1e-4)
        if all(n % b == 0 for n, b in zip(extent, BOX[extent[0]])):
            run, order = near_flex(q, k, v, extent, size, causal, BOX[extent[0]])
            got = run()[0].transpose(0, 1)
            torch.testing.assert_close(got, want.reshape(-1, heads, dim)[order], rtol=1e-4, atol=1e-4)
            out["flex-tile"] = run
    return out


def seconds(run):
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def oriel(program, name, threads, dtype):
    text = subprocess.run([program, name, "--csv", "--threads", str(threads), "--dtype", dtype], check=True,
                          capture_output=True, text=True)
    return next(row for row in csv.DictReader(io.StringIO(text.stdout)) if row["problem"] == name)


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("program")
    ap.add_argument("pattern", nargs="?", default="")
    ap.add_argument("--threads", type=int, default=2)
    ap.add_argument("--rounds", type=int, default=5)
    ap.add_argument("--no-flex", action="store_true", help="leave FlexAttention out: its masks of 16,384 tokens need 9 GiB")
    args = ap.parse_args()
    torch.set_num_threads(args.threads)
    print(f"# PyTorch {torch.__version__}, fp32, {args.threads} threads; milliseconds, median of {args.rounds} rounds")
    print("problem                       oriel  share   bf16  best of PyTorch       ratio  its ways")
    for name in [n for group in (NEAR, WINDOW, TILES) for n in group if args.pattern in n]:
        with torch.inference_mode():
            runs = ways(name, not args.no_flex)
            took = {way: [] for way in (*runs, "f32", "bf16")}
            for run in runs.values():
                run(), run()
            for _ in range(args.rounds):
                for way, run in runs.items():
                    took[way].append(seconds(run))
                for dtype in ("f32", "bf16"):
                    row = oriel(args.program, name, args.threads, dtype)
                    took[dtype].append(float(row["seconds"]))
                    share = row["share"] if dtype == "f32" else share
        ms = {way: 1e3 * statistics.median(t) for way, t in took.items()}
        best = min(runs, key=ms.get)
        print(f"{name:27s} {ms['f32']:7.3f} {float(share):6.2f} {ms['bf16']:6.3f}  {best:10s} {ms[best]:9.2f} {ms[best] / ms['f32']:7.1f}  "
              + ", ".join(f"{way} {ms[way]:.2f}" for way in runs), flush=True)
        torch._dynamo.reset()


if __name__ == "__main__":
    main()
