#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""SwinIR on the CPU, oriel beside PyTorch (eager and torch.compile), fp32, in one run.

    bench/swinir_torch.py BUILD/bench/bench_swinir [--net light-x4,m-x4] [--size 256x256] [--threads 2]

PyTorch runs tools/train/swinir.py, the plain rendering of the same network, in inference mode with the
masks made beforehand. The programs take turns; a row is the median of its runs.
"""
import argparse
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


def remember_masks():
    """The mask of a size is made once, not once a block: kinder to PyTorch than the published code."""
    made, make = {}, swinir.shift_mask
    swinir.shift_mask = lambda *key: made[key] if key in made else made.setdefault(key, make(*key))


def seconds(run, x, runs):
    out = []
    for _ in range(runs):
        start = time.perf_counter()
        run(x)
        out.append(time.perf_counter() - start)
    return out


def oriel(program, net, size, threads, runs):
    text = subprocess.run([program, "--csv", "--net", net, "--size", size, "--threads", str(threads),
                           "--precision", "f32", "--runs", str(runs)], check=True, capture_output=True, text=True)
    return next(csv.DictReader(io.StringIO(text.stdout)))


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("program")
    ap.add_argument("--net", default="light-x4,m-x4")
    ap.add_argument("--size", default="256x256")
    ap.add_argument("--threads", default="2")
    ap.add_argument("--rounds", type=int, default=3)
    ap.add_argument("--no-compile", action="store_true")
    args = ap.parse_args()
    width, height = map(int, args.size.split("x"))
    remember_masks()
    print(f"# PyTorch {torch.__version__}, {args.size}, fp32, batch 1; seconds, median of {args.rounds}")
    print("network    thr   eager  compiled   oriel   eager/oriel  compiled/oriel  oriel GFLOP/s  share of FMA peak")
    for threads in map(int, args.threads.split(",")):
        torch.set_num_threads(threads)
        for net in args.net.split(","):
            model = swinir.SwinIR(**NETS[net]).eval()
            x = torch.rand(1, 3, height, width)
            rows = {"eager": [], "compiled": [], "oriel": []}
            with torch.inference_mode():
                model(x)
                compiled = None if args.no_compile else torch.compile(model)
                if compiled is not None:
                    seconds(compiled, x, 2)
                for _ in range(args.rounds):
                    rows["eager"] += seconds(model, x, 1)
                    if compiled is not None:
                        rows["compiled"] += seconds(compiled, x, 1)
                    row = oriel(args.program, net, args.size, threads, 3)
                    rows["oriel"].append(float(row["seconds"]))
            torch._dynamo.reset()
            eager, own = statistics.median(rows["eager"]), statistics.median(rows["oriel"])
            comp = statistics.median(rows["compiled"]) if compiled is not None else float("nan")
            print(f"{net:9s} {threads:4d} {eager:7.3f} {comp:9.3f} {own:7.3f} {eager / own:13.2f} {comp / own:15.2f}"
                  f" {float(row['gflop']) / own:14.1f} {float(row['share']):18.2f}", flush=True)


if __name__ == "__main__":
    main()
