# SPDX-License-Identifier: Apache-2.0
"""Writes the small checkpoints of tests/golden/checkpoints, read by tests/test_checkpoint.c.

Element i of tensor number t is ((31 t + 7 i) mod 64 - 32) / 8, without the division in integer
tensors: exact in every type. Run with PyTorch 2.1 or later and numpy:

    python3 tests/golden/make_checkpoints.py tests/golden/checkpoints
"""
import argparse
import io
import os
import pickle
import struct
import sys
import zipfile
from collections import OrderedDict

import numpy as np
import torch

out = sys.argv[1]
os.makedirs(out, exist_ok=True)


def path(name):
    return os.path.join(out, name)


def value(t, *shape, dtype=torch.float32):
    n = int(np.prod(shape)) if shape else 1
    v = (31 * t + 7 * torch.arange(n)) % 64 - 32
    if dtype == torch.bool:
        v = v % 2
    elif dtype in (torch.uint8, torch.uint16):
        v = v + 32
    elif dtype.is_floating_point or dtype.is_complex:
        v = v / 8
    return v.reshape(shape).to(dtype)


types = [torch.float32, torch.float16, torch.bfloat16, torch.float64, torch.int64, torch.int32,
         torch.int16, torch.int8, torch.uint8, torch.bool]
basic = OrderedDict((f"t{t}.weight", value(t, 3, 5, dtype=d)) for t, d in enumerate(types))
basic["scalar"] = value(10)
basic["empty"] = torch.zeros(0, 3)
basic._metadata = OrderedDict([("", {"version": 1}), ("t0", {"version": 2})])
torch.save(basic, path("zip_types.pth"))
torch.save(basic, path("zip_protocol4.pth"), pickle_protocol=4)
torch.save(basic, path("legacy_types.pth"), _use_new_zipfile_serialization=False)


class Marked(torch.Tensor):
    pass


whole = value(0, 6, 4)
marked = value(5, 2, 3).as_subclass(Marked)
noted = torch.nn.Parameter(value(4, 2, 2))
noted.note = "kept by _rebuild_parameter_with_state"
views = {
    "whole": whole,
    "transposed": whole.t(),
    "slice": whole[2:4, 1:3],
    "expanded": value(1, 1, 4).expand(3, 4),
    "channels_last": value(2, 2, 3, 4, 5).to(memory_format=torch.channels_last),
    "parameter": torch.nn.Parameter(value(3, 2, 3)),
    "noted": noted,
    "subclass": marked,
}
torch.save(views, path("zip_views.pth"))
torch.save(views, path("legacy_views.pth"), _use_new_zipfile_serialization=False)

small = {"float8_e4m3fn": value(0, 4).to(torch.float8_e4m3fn),
         "float8_e5m2": value(1, 4).to(torch.float8_e5m2),
         "uint16": value(2, 4, dtype=torch.uint16),
         "complex": value(3, 4, dtype=torch.complex64),
         "sparse": torch.eye(2).to_sparse(),
         "seven": torch.zeros(1, 1, 1, 1, 1, 1, 2),
         "last": value(4, 4)}
torch.save(small, path("zip_rare.pth"))


def swinir(embed=4, table=9, prefix="", first=0):
    block = "layers.0.residual_group.blocks."
    names = {"conv_first.weight": (embed, 3, 3, 3), "conv_first.bias": (embed,)}
    for j in range(2):
        names[f"{block}{j}.norm1.weight"] = (embed,)
        names[f"{block}{j}.attn.relative_position_bias_table"] = (table, 2)
        names[f"{block}{j}.mlp.fc1.weight"] = (embed * 2, embed)
    names["conv_after_body.weight"] = (embed, embed, 3, 3)
    names["upsample.0.weight"] = (12, embed, 3, 3)
    d = OrderedDict((prefix + k, value(first + i, *s)) for i, (k, s) in enumerate(names.items()))
    d[prefix + block + "1.attn_mask"] = value(90, 1, 4, 4)
    d[prefix + block + "0.attn.relative_position_index"] = value(91, 4, 4, dtype=torch.int64)
    return d


one = swinir()
shared = {"params": one, "params_ema": swinir(first=50), "iter": 7,
          "optimizer": {"state": {0: {"exp_avg": value(1, 3)}}}}
torch.save(shared, path("wrapped.pth"))
torch.save(swinir(prefix="module."), path("module.pth"))
torch.save({"state_dict": {**swinir(prefix="model."), "loss.vgg.weight": value(1, 2)}},
           path("lightning.pth"))
args = argparse.Namespace(num_windows=2, lr=0.0001, name="nano", stages=[3, 6, 9],
                          nested=argparse.Namespace(deep=True), none=None, big=1 << 70)
args.me = args  # a cycle
torch.save({"model": {"w": value(0, 2, 3)}, "args": args}, path("args.pth"))
torch.save(torch.nn.Linear(2, 2), path("module_object.pth"))
torch.jit.save(torch.jit.script(torch.nn.Linear(2, 2)), path("script.pt"))
torch.save([1, 2], path("list.pth"))


def rezip(source, target, method, change=lambda name, data: data):
    with zipfile.ZipFile(path(source)) as z, zipfile.ZipFile(path(target), "w", method) as w:
        for i in z.infolist():
            if i.filename.endswith(".debug_pkl"):  # where the writer's PyTorch was installed
                continue
            info = zipfile.ZipInfo(i.filename, (2020, 1, 1, 0, 0, 0))
            info.compress_type = method
            w.writestr(info, change(i.filename, z.read(i)))


rezip("script.pt", "torchscript.pt", zipfile.ZIP_STORED)
os.remove(path("script.pt"))
rezip("zip_types.pth", "deflated.pth", zipfile.ZIP_DEFLATED)
limit = zipfile.ZIP64_LIMIT
zipfile.ZIP64_LIMIT = 40  # sizes and offsets over 40 go to the ZIP64 fields
rezip("zip_types.pth", "zip64.pth", zipfile.ZIP_STORED)
zipfile.ZIP64_LIMIT = limit
rezip("zip_types.pth", "bzip2.pth", zipfile.ZIP_BZIP2)

torch.save({"a": value(0, 3, 5), "b": value(1, 4, dtype=torch.int64)}, path("tmp.pth"))


def to_big(name, data):
    if name.endswith("byteorder"):
        return b"big"
    size = {"0": 4, "1": 8}.get(name.rsplit("/", 1)[-1]) if "/data/" in name else None
    return data if not size else b"".join(
        data[i:i + size][::-1] for i in range(0, len(data), size))


rezip("tmp.pth", "big_endian.pth", zipfile.ZIP_STORED, to_big)
os.remove(path("tmp.pth"))


def array(t, *shape, dtype="f4"):
    return value(t, *shape).numpy().astype(dtype) if dtype[0] == "f" else \
        value(t, *shape, dtype=torch.int64).numpy().astype(dtype)


arrays = {"model": {"f4": array(0, 3, 5), "f2": array(1, 4, dtype="f2"),
                    "i8": array(2, 4, dtype="i8"), "fortran": np.asfortranarray(array(3, 3, 5)),
                    "scalar": array(4), "big": array(5, 4).astype(">f4")}, "__author__": "nobody"}
for protocol in (2, 4, 5):
    with open(path(f"numpy{protocol}.pkl"), "wb") as f:
        pickle.dump(arrays, f, protocol)

# The better name, but of nothing known, and the lesser name of a network
block = "layers.0.residual_group.blocks.0.attn.relative_position_bias_table"
choice = {"params_ema": {"a": array(0, 2), "b": array(1, 2)}, "small": {"c": array(2, 2)},
          "net": {"conv_first.weight": array(3, 4, 3, 3, 3), block: array(4, 9, 2)}}
with open(path("choice.pkl"), "wb") as f:
    pickle.dump(choice, f, 4)

print(sum(os.path.getsize(path(f)) for f in os.listdir(out)), "bytes")
