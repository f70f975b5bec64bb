# SPDX-License-Identifier: Apache-2.0
"""PSNR on Y of a weights file over pairs of pictures, the BasicSR way; the plain model in fp32.

    python evaluate.py WEIGHTS SCALE LOW HIGH     two file patterns, paired in order of names
"""
import glob
import math
import sys

import numpy as np
import torch
from PIL import Image

import swinir


def read(path):
    return torch.from_numpy(np.array(Image.open(path).convert("RGB"))).permute(2, 0, 1)[None].float() / 255


def luma(x):
    x = (x.clamp(0, 1) * 255).round().double() / 255
    return (x * torch.tensor([65.481, 128.553, 24.966], dtype=x.dtype).view(1, 3, 1, 1)).sum(1) + 16


def psnr(y, target, border):
    d = (luma(y) - luma(target))[:, border:-border, border:-border]
    return 20 * math.log10(255 / d.square().mean().sqrt().item())


def load(path):
    if path.endswith(".safetensors"):
        from safetensors.torch import load_file
        return load_file(path)
    return torch.load(path, map_location="cpu", weights_only=True)


@torch.inference_mode()
def main():
    if len(sys.argv) != 5:
        sys.exit(__doc__)
    scale = int(sys.argv[2])
    net = swinir.load_weights(swinir.light(scale), load(sys.argv[1])).eval()
    values = []
    for path, target in zip(sorted(glob.glob(sys.argv[3])), sorted(glob.glob(sys.argv[4])), strict=True):
        low, high = read(path), read(target)
        high = high[:, :, :low.shape[2] * scale, :low.shape[3] * scale]
        y = net(low)[:, :, :high.shape[2], :high.shape[3]]
        values.append(psnr(y, high, scale))
        print(f"{path.split('/')[-1]} {values[-1]:.3f}")
    print(f"mean of {len(values)}: {sum(values) / len(values):.3f} dB")


if __name__ == "__main__":
    main()
