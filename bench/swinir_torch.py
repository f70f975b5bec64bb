#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""SwinIR, oriel beside PyTorch (eager and torch.compile) in one run: fp32 on the CPU, fp16 on a GPU.

    bench/swinir_torch.py BUILD/bench/bench_swinir [--net light-x4,m-x4] [--size 256x256] [--threads 2]
    bench/swinir_torch.py BUILD/bench/bench_swinir --device cuda [--compile whole,blocks] [--graphs] [...]

PyTorch runs tools/train/swinir.py, the plain rendering of the same network, in inference mode with the
masks made beforehand, on the device. The programs take turns; a row is the median of its runs. whole: the
network is compiled as one, which takes minutes; blocks: each window block, the rest stays eager, which takes
seconds. --graphs: in the mode reduce-overhead, which replays CUDA graphs as oriel does.
"""
import argparse
import copy
import csv
import io
import pathlib
import statistics
import subprocess
import sys
import time

import torch

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "tools" / "train"))
import swinir  # noqa: E402

NETS = {"light-x2": dict(scale=2, **swinir.LIGHT), "light-x4": dict(scale=4, **swinir.LIGHT),
        "m-x2": dict(scale=2), "m-x4": dict(scale=4)}


def remember_masks(device, dtype):
    """The mask of a size is made once, not once a block: kinder to PyTorch than the published code."""
    made, make = {}, swinir.shift_mask
    swinir.shift_mask = lambda *key: made[key] if key in made else made.setdefault(key, make(*key).to(device, dtype))


def seconds(run, x, runs):
    out = []
    for _ in range(runs):
        if x.is_cuda:
            torch.cuda.synchronize()
        start = time.perf_counter()
        run(x)
        if x.is_cuda:
            torch.cuda.synchronize()
        out.append(time.perf_counter() - start)
    return out


def compiled(model, how, graphs):
    """The network, compiled as `how` says; the model itself keeps as it is."""
    options = dict(mode="reduce-overhead") if graphs else {}
    if how == "whole":
        return torch.compile(model, **options)
    model = copy.deepcopy(model)
    for module in model.modules():
        if isinstance(module, swinir.Block):
            module.compile(**options)
    return model


def oriel(args, net, threads):
    kind = ["--device", "cuda", "--precision", "f16"] if args.device == "cuda" else ["--precision", "f32"]
    text = subprocess.run([args.program, "--csv", "--net", net, "--size", args.size, "--threads", str(threads),
                           "--runs", "20" if args.device == "cuda" else "3"] + kind,
                          check=True, capture_output=True, text=True)
    return next(csv.DictReader(io.StringIO(text.stdout)))


def measure(args, net, threads):
    width, height = map(int, args.size.split("x"))
    torch._dynamo.reset()
    cuda, dtype = args.device == "cuda", torch.float16 if args.device == "cuda" else torch.float32
    model = swinir.SwinIR(**NETS[net]).eval().to(args.device, dtype)
    x = torch.rand(1, 3, height, width, device=args.device, dtype=dtype)
    for name in ["eager", *(how for how in args.compile.split(",") if how != "none")]:
        run = model if name == "eager" else compiled(model, name, args.graphs)
        if cuda:
            torch.cuda.reset_peak_memory_stats()
        start, peer, own = time.perf_counter(), [], []
        with torch.inference_mode():
            seconds(run, x, 3 if cuda else 1 if name == "eager" else 2)
            warm = time.perf_counter() - start
            for _ in range(args.rounds): # in turns
                peer += seconds(run, x, 10 if cuda else 1)
                row = oriel(args, net, threads)
                own.append(float(row["seconds"]))
        peer, own = statistics.median(peer), statistics.median(own)
        peak = f", its peak {torch.cuda.max_memory_allocated() / 2**20:.0f} MiB" if cuda else f", {float(row['share']):.2f} of the FMA peak"
        print(f"{net:9s} {args.size:>9s} {threads:3d} {name:6s} {1e3 * peer:9.3f} ms  oriel {1e3 * own:9.3f} ms  "
              f"{name}/oriel {peer / own:6.2f}  oriel {float(row['gflop']) / own:.1f} GFLOP/s{peak}, {warm:.0f} s to warm up",
              flush=True)


def rates():
    """What the GPU gives: a product of 8192^3, and a copy (bytes read plus written)."""
    a, b = (torch.randn(8192, 8192, device="cuda", dtype=torch.float16) for _ in range(2))
    c, d = (torch.empty(1 << 30, device="cuda", dtype=torch.uint8) for _ in range(2))
    gemm = statistics.median(seconds(lambda _: a @ b, a, 10)[3:])
    copied = statistics.median(seconds(lambda _: c.copy_(d), a, 10)[3:])
    return f"fp16 GEMM {2e-12 * 8192**3 / gemm:.0f} TFLOP/s, copy {2e-9 * (1 << 30) / copied:.0f} GB/s"


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("program")
    ap.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    ap.add_argument("--net", default="light-x4,m-x4")
    ap.add_argument("--size", default="256x256")
    ap.add_argument("--threads", default="2")
    ap.add_argument("--rounds", type=int, default=3)
    ap.add_argument("--compile", default="whole", help="whole, blocks, whole,blocks, none")
    ap.add_argument("--graphs", action="store_true")
    args = ap.parse_args()
    cuda = args.device == "cuda"
    remember_masks(args.device, torch.float16 if cuda else torch.float32)
    print(f"# PyTorch {torch.__version__}, {'fp16' if cuda else 'fp32'}, batch 1; median of {args.rounds} rounds")
    if cuda:
        print(f"# {torch.cuda.get_device_name()}: {rates()}", flush=True)
    for threads in [0] if cuda else map(int, args.threads.split(",")):
        if threads:
            torch.set_num_threads(threads)
        for net in args.net.split(","):
            measure(args, net, threads)


if __name__ == "__main__":
    main()
