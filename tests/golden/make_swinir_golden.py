# SPDX-License-Identifier: Apache-2.0
"""Golden values of SwinIR for tests/test_swinir.c: golden/swinir.txt (networks, cases, maps) and golden/swinir.bin.

    python tests/golden/make_swinir_golden.py          needs PyTorch and numpy

Small networks of every published kind, weights from the counter hash (seed: FNV-1a of the tensor's name), run in
float64 by tools/train/swinir.py, which is written from the paper. Pictures come from the same hash. Of a map are
stored values at hash positions and, a row, the sum of all values with hash signs: a wrong pixel anywhere shows.

    net NAME upsampler scale channels embed heads window hidden three depth depth
    case H W pad seed maps            on the network before; pad 0 reflect, 1 symmetric
    map NAME index H W C samples      H + samples float32 in swinir.bin: row sums, then samples; then max, rms
"""
import os
import sys

import numpy as np
import torch

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.join(HERE, "..", "..", "tools", "train")]
import hash as counter  # noqa: E402
from swinir import SwinIR  # noqa: E402

#        name          upsampler            x  ch dim heads w mlp  convs
NETS = [("classical2", "pixelshuffle", 2, 3, 24, 3, 8, 2.0, "1conv"),
        ("classical3", "pixelshuffle", 3, 3, 20, 2, 8, 1.5, "1conv"),
        ("classical4", "pixelshuffle", 4, 3, 21, 3, 8, 3.0, "1conv"),
        ("classical8", "pixelshuffle", 8, 3, 10, 2, 8, 2.0, "1conv"),
        ("light2", "pixelshuffledirect", 2, 3, 60, 6, 8, 2.0, "1conv"),
        ("light3", "pixelshuffledirect", 3, 3, 20, 2, 8, 2.0, "1conv"),
        ("light4", "pixelshuffledirect", 4, 3, 22, 2, 8, 1.0, "1conv"),
        ("real4m", "nearest+conv", 4, 3, 24, 3, 8, 2.0, "1conv"),
        ("real4l", "nearest+conv", 4, 3, 20, 2, 8, 2.0, "3conv"),
        ("real2m", "nearest+conv", 2, 3, 28, 4, 8, 2.0, "1conv"),
        ("real2l", "nearest+conv", 2, 3, 17, 1, 8, 2.0, "3conv"),
        ("noisegrey", "", 1, 1, 18, 2, 8, 2.0, "1conv"),
        ("noisecolour", "", 1, 3, 24, 2, 8, 2.0, "1conv"),
        ("jpeggrey", "", 1, 1, 20, 2, 7, 2.0, "1conv"),
        ("jpegcolour", "", 1, 3, 21, 3, 7, 2.0, "1conv")]
DEPTHS = (2, 3)
REFLECT, SYMMETRIC = 0, 1
#       H   W   pad      taps
CASES = [(13, 21, REFLECT, True), (16, 24, REFLECT, False), (1, 1, REFLECT, False), (1, 7, REFLECT, False),
         (7, 7, SYMMETRIC, True), (16, 8, SYMMETRIC, False), (3, 2, SYMMETRIC, False)]
LARGE = {"classical2": (18, 68), "classical3": (35, 9), "light2": (9, 133), "light4": (39, 66), "real4m": (34, 6),
         "real4l": (17, 66), "real2l": (33, 15), "noisecolour": (50, 70), "jpeggrey": (36, 71)}
SAMPLES, TAP_SAMPLES = 200, 80


def fnv(name):
    h = 2166136261
    for c in name.encode():
        h = (h ^ c) * 16777619 & 0xFFFFFFFF
    return h


def fill(name, shape, last, img_range):
    """Weights by name; test_swinir.c has the same rule."""
    x = 2 * counter.unit(fnv(name), *shape).astype(np.float64) - 1
    if name.endswith("table"):
        y = x
    elif name.endswith("bias"):
        y = 0.2 * x
    elif "norm" in name:
        y = 1 + 0.3 * x
    else:
        gain = 1.5 / img_range if name == "conv_first.weight" else 0.125 * img_range if name == last \
            else 1.5 if "qkv" in name else 1.0
        y = gain * np.sqrt(3.0 / np.prod(shape[1:])) * x
    return torch.from_numpy(y.astype(np.float32))


def network(up, scale, channels, dim, heads, window, mlp, resi):
    img_range = 255.0 if window == 7 else 1.0
    net = SwinIR(scale=scale, channels=channels, embed_dim=dim, depths=DEPTHS, heads=heads, window=window,
                 mlp_ratio=mlp, upsampler=up, resi=resi, img_range=img_range)
    last = "upsample.0.weight" if up == "pixelshuffledirect" else "conv_last.weight"
    with torch.no_grad():
        for name, p in net.named_parameters():
            p.copy_(fill(name, tuple(p.shape), last, img_range))
    net.double().eval()
    if channels == 3:  # the constants of the papers, not their float32 roundings; so it is in C, to 1e-8
        net.mean.copy_(torch.tensor((0.4488, 0.4371, 0.4040), dtype=torch.float64).view(1, 3, 1, 1))
    return net


def official_symmetric(x, w):
    """main_test_swinir.py: flip and concatenate to (h // w + 1) * w."""
    h_old, w_old = x.shape[2:]
    h_pad, w_pad = (h_old // w + 1) * w - h_old, (w_old // w + 1) * w - w_old
    x = torch.cat([x, torch.flip(x, [2])], 2)[:, :, :h_old + h_pad, :]
    return torch.cat([x, torch.flip(x, [3])], 3)[:, :, :, :w_old + w_pad]


def reflect_to(x, w):
    """numpy's 'reflect' up to a multiple of w: bounces where the picture is smaller than the pad."""
    pad = [(0, 0), (0, 0), (0, -x.shape[2] % w), (0, -x.shape[3] % w)]
    return torch.from_numpy(np.pad(x.numpy(), pad, mode="reflect"))


def run(net, picture, pad):
    """The output and, by name, the maps between, all (H, W, C) float64."""
    maps, hooks = [], []

    def keep(name, index, first):
        def hook(_, __, y):
            maps.append((name, index, (y[0].permute(1, 2, 0) if first else y[0]).numpy()))
        return hook
    hooks.append(net.conv_first.register_forward_hook(keep("first", 0, True)))
    for g, layer in enumerate(net.layers):
        for i, block in enumerate(layer.residual_group.blocks):
            hooks.append(block.register_forward_hook(keep("block", g * 100 + i, False)))
        hooks.append(layer.register_forward_hook(keep("group", g, False)))
    x = torch.from_numpy(picture.astype(np.float64)).permute(2, 0, 1)[None]
    h, w = x.shape[2:]
    body = net.body

    def kept_body(f0):
        y = body(f0)
        maps.append(("body", 0, y[0].permute(1, 2, 0).numpy()))
        return y
    net.body = kept_body
    with torch.no_grad():
        x = reflect_to(official_symmetric(x, net.window) if pad == SYMMETRIC else x, net.window)
        y = net(x)[0, :, :h * net.scale, :w * net.scale].permute(1, 2, 0).numpy()
    del net.body
    for hook in hooks:
        hook.remove()
    return y, maps


def summary(m, seed, samples):
    """Row sums with hash signs; values at hash positions."""
    flat = m.reshape(-1)
    z = counter.numbers(seed, flat.size)
    sign = np.where(z >> np.uint64(63), -1.0, 1.0)
    sums = (flat * sign).reshape(m.shape[0], -1).sum(1)
    at = counter.numbers(seed + 1, samples) % np.uint64(flat.size)
    return np.concatenate([sums, flat[at.astype(np.int64)]]).astype("<f4")


def main():
    text, data = [], []
    for number, (name, up, scale, channels, dim, heads, window, mlp, resi) in enumerate(NETS):
        net = network(up, scale, channels, dim, heads, window, mlp, resi)
        text.append(f"net {name} {up or 'none'} {scale} {channels} {dim} {heads} {window} {int(dim * mlp)} "
                    f"{int(resi == '3conv')} {DEPTHS[0]} {DEPTHS[1]}")
        cases = CASES + ([LARGE[name] + (REFLECT, False)] if name in LARGE else [])
        for i, (h, w, pad, taps) in enumerate(cases):
            seed = 1000 + 100 * number + 10 * i
            y, maps = run(net, counter.unit(seed, h, w, channels), pad)
            maps = (maps if taps else []) + [("output", 0, y)]
            text.append(f"case {h} {w} {pad} {seed} {len(maps)}")
            for k, (what, index, m) in enumerate(maps):
                samples = min(m.size, SAMPLES if what == "output" else TAP_SAMPLES)
                text.append(f"map {what} {index} {m.shape[0]} {m.shape[1]} {m.shape[2]} {samples} "
                            f"{np.abs(m).max():.4g} {np.sqrt((m * m).mean()):.4g}")
                data.append(summary(m, seed + 5, samples))
    with open(os.path.join(HERE, "swinir.txt"), "w") as f:
        f.write("\n".join(text) + "\n")
    np.concatenate(data).tofile(os.path.join(HERE, "swinir.bin"))


if __name__ == "__main__":
    main()
