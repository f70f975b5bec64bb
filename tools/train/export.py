# SPDX-License-Identifier: Apache-2.0
"""Writes the averaged weights of a checkpoint as fp16 safetensors under the official names.

    python export.py x2.pt swinir-light-x2.safetensors
"""
import json
import struct
import sys

import torch


def write(path, tensors, metadata):
    """The safetensors format: length, JSON header, data; the header padded so that data starts at 64 bytes."""
    header, at = {"__metadata__": metadata}, 0
    for name, t in tensors.items():
        size = t.numel() * t.element_size()
        header[name] = {"dtype": "F16", "shape": list(t.shape), "data_offsets": [at, at + size]}
        at += size
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-(len(text) + 8) % 64)
    with open(path, "wb") as f:
        f.write(struct.pack("<Q", len(text)) + text)
        for t in tensors.values():
            f.write(t.contiguous().numpy().tobytes())


def main():
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    state = torch.load(sys.argv[1], map_location="cpu", weights_only=True)
    tensors, at = {}, 0
    for name, shape in zip(state["names"], state["shapes"]):
        n = torch.Size(shape).numel()
        tensors[name] = state["ema"][at:at + n].view(shape).half()
        at += n
    write(sys.argv[2], dict(sorted(tensors.items())), {
        "architecture": "swinir",
        "variant": "light",
        "scale": str(state["scale"]),
        "upsampler": "pixelshuffledirect",
        "window_size": "8",
        "num_heads": "6",
        "img_range": "1",
        "mean": "0.4488 0.4371 0.4040",
        "training_data": "photographs of Debian packages and free collections, MATLAB-bicubic reduced;"
                         " listed in tools/train/photographs.tsv",
        "training_steps": str(state["done"]),
        "license": "Apache-2.0",
    })
    print(f"{sys.argv[2]}: {len(tensors)} tensors, {sum(t.numel() for t in tensors.values())} parameters")


if __name__ == "__main__":
    main()
