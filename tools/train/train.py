# SPDX-License-Identifier: Apache-2.0
"""Trains SwinIR-light within a given time; goes on from its checkpoint file where that exists.

    python train.py --data FOLDER --scale 2 --out x2.pt --minutes 16 [--call-seconds 500]
    torchrun --nproc-per-node 2 train.py ...      the batch is per process

The schedule is a function of training time, not of steps: warm-up, cosine to zero at --minutes, L1 loss,
on request squared error for the last part. The best averaged weights by validation, on crops of photographs
kept out of training, are in <out>.best. One step is two CUDA graphs with one all-reduce of the gradient
between them; all parameters lie in one flat vector.
"""
import argparse
import math
import os
import time

import torch
import torch.distributed as dist
import torch.nn.functional as F

import fast
import swinir
from data import Crops


def arguments():
    a = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    a.add_argument("--data", required=True)
    a.add_argument("--scale", type=int, required=True)
    a.add_argument("--out", required=True)
    a.add_argument("--minutes", type=float, required=True, help="training time of the whole schedule")
    a.add_argument("--call-seconds", type=float, default=1e9, help="stop this call after so many seconds, start-up included")
    a.add_argument("--batch", type=int, default=16)
    a.add_argument("--patch", type=int, default=64, help="side of the low-resolution crop")
    a.add_argument("--lr", type=float, default=1.7e-3)
    a.add_argument("--clip", type=float, default=1.0, help="largest norm of a gradient")
    a.add_argument("--squared", type=float, default=0.0, help="last share of the time, under squared error")
    a.add_argument("--plain", action="store_true", help="the plain model, no kernels of our own (always on a CPU)")
    a.add_argument("--every", type=float, default=60, help="seconds between validations")
    return a.parse_args()


class Parameters:
    """All parameters as one flat vector, first those computed with in half precision, then the rest."""

    def __init__(self, net, device, half):
        own = dict(net.named_parameters())
        kept = ("conv_first.weight", "upsample.0.weight")
        self.names = sorted(own, key=lambda n: (own[n].ndim == 1 or "table" in n or n in kept, n))
        self.shapes = [own[n].shape for n in self.names]
        self.sizes = [own[n].numel() for n in self.names]
        self.flat = torch.cat([own[n].detach().flatten() for n in self.names]).to(device)
        self.cut = sum(own[n].numel() for n in self.names if own[n].ndim > 1 and "table" not in n and n not in kept)
        self.half = self.flat[:self.cut].to(half)
        self.leaves = self.views(self.half, self.flat[self.cut:])
        for leaf in self.leaves:
            leaf.requires_grad_()
        self.grad, self.m, self.v = (torch.zeros_like(self.flat) for _ in range(3))
        self.ema = self.flat.clone()
        self.step = torch.zeros((), device=device)

    def views(self, half, full):
        """Tensors over the two parts, in the order of `names`."""
        parts, views, part, at = [half, full], [], 0, 0
        for n, shape in zip(self.sizes, self.shapes):
            views.append(parts[part][at:at + n].view(shape).detach())
            at += n
            if part == 0 and at == self.cut:
                part, at = 1, 0
        return views

    def named(self):
        return dict(zip(self.names, self.leaves))

    def smooth(self):
        """The averaged weights, as `named`."""
        return dict(zip(self.names, self.views(self.ema[:self.cut].to(self.half.dtype), self.ema[self.cut:])))

    def differentiate(self, loss):
        grads = [g.reshape(-1) for g in torch.autograd.grad(loss, self.leaves)]
        n = sum(1 for leaf in self.leaves if leaf.data_ptr() < self.half.data_ptr() + self.half.nbytes
                and leaf.data_ptr() >= self.half.data_ptr())
        self.grad[:self.cut].copy_(torch.cat(grads[:n]))
        self.grad[self.cut:].copy_(torch.cat(grads[n:]))

    @torch.no_grad()
    def update(self, lr, clip, b1=0.9, b2=0.99, average=0.999):
        """Adam on the flat vector; a gradient that is not finite counts as zero."""
        norm = self.grad.norm()
        g = torch.where(norm.isfinite(), self.grad * (clip / (norm + 1e-8)).clamp(max=1), torch.zeros_like(self.grad))
        self.step += 1
        self.m.lerp_(g, 1 - b1)
        self.v.lerp_(g * g, 1 - b2)
        self.flat.sub_(lr * (self.m / (1 - b1 ** self.step)) / ((self.v / (1 - b2 ** self.step)).sqrt() + 1e-8))
        keep = ((1 + self.step) / (10 + self.step)).clamp(max=average)
        self.ema.copy_(self.flat + keep * (self.ema - self.flat))
        self.half.copy_(self.flat[:self.cut])

    def state(self):
        return {k: getattr(self, k) for k in ("flat", "ema", "m", "v", "step")}

    def restore(self, state):
        for k, t in self.state().items():
            t.copy_(state[k])
        self.half.copy_(self.flat[:self.cut])

    def tensors(self):
        """The averaged weights under their names, as fp32 on the CPU."""
        return {n: t.reshape(s).clone() for n, t, s in zip(self.names, self.ema.cpu().split(self.sizes), self.shapes)}


def luma(x):
    """Y of [.., 3] RGB in 0..1, in 0..255 after rounding RGB to 8 bits."""
    x = (x.clamp(0, 1) * 255).round().double() / 255
    return x @ torch.tensor([65.481, 128.553, 24.966], dtype=x.dtype, device=x.device) + 16


@torch.no_grad()
def validate(forward, p, batches, scale):
    values = []
    for low, high in batches:
        d = (luma(forward(p, low)) - luma(high))[:, scale:-scale, scale:-scale]
        values.append(10 * torch.log10(255 ** 2 / d.square().mean((1, 2)).clamp(min=1e-2)))
    return torch.cat(values).mean().item()


def schedule(progress, lr, squared):
    """Learning rate, and the weight of L1 against squared error."""
    warm = min(1.0, progress / 0.02 + 0.01)
    weight = min(1.0, max(0.0, (1 - squared - progress) / 0.02))
    return lr * warm * 0.5 * (1 + math.cos(math.pi * min(progress, 1.0))) + 1e-7, weight


def main():
    start = time.time()
    args = arguments()
    rank, world = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
    cuda = torch.cuda.is_available()
    device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", 0))) if cuda else torch.device("cpu")
    if cuda:
        torch.cuda.set_device(device)
        torch.backends.cudnn.benchmark = torch.backends.cudnn.allow_tf32 = True
    if world > 1:
        dist.init_process_group("nccl" if cuda else "gloo")

    def say(*text):
        if rank == 0:
            print(f"x{args.scale} {time.time() - start:6.1f} s:", *text, flush=True)

    torch.manual_seed(7)
    net = swinir.light(args.scale).to(device)
    plain = args.plain or not cuda
    par = Parameters(net, device, torch.float32 if plain else torch.bfloat16)
    done, seconds, best = 0, 0.0, 0.0
    if os.path.exists(args.out):
        saved = torch.load(args.out, map_location=device, weights_only=True)
        par.restore(saved)
        done, seconds = saved["done"], saved["seconds"]
        best = saved.get("best", 0.0)
    crops = Crops(args.data, args.scale, args.patch, device)
    held = Crops(args.data, args.scale, args.patch, device, "val").fixed(args.batch, 4)
    torch.manual_seed(1000 * done + rank)
    say(f"{len(crops.high) / 1e6:.0f} Mpixel, {len(crops.places)} places; goes on from step {done}, {seconds:.0f} s")

    if plain:
        def forward(p, x):
            return torch.func.functional_call(net, p, (x.permute(0, 3, 1, 2),)).permute(0, 2, 3, 1)
        check = forward
    else:
        make = (args.scale, swinir.LIGHT["depths"], swinir.LIGHT["heads"], swinir.LIGHT["window"], swinir.MEAN, device)
        forward = fast.Light(*make, run=torch.compile(fast.block, fullgraph=True, dynamic=False))
        check = fast.Light(*make)
    plan = torch.zeros(3, device=device)  # learning rate, weight of L1, stop
    total = torch.zeros((), device=device)
    named = par.named()

    def measure():
        low, high = crops.sample(args.batch)
        d = forward(named, low) - high
        loss = plan[1] * d.abs().mean() + (1 - plan[1]) * 20 * d.square().mean()
        total.add_(d.detach().abs().mean())
        par.differentiate(loss)

    def update():
        par.update(plan[0], args.clip)

    if cuda:
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(3):
                measure()
            update()  # learning rate zero: warms the kernels, then the state is put back
        torch.cuda.current_stream().wait_stream(side)
        first, second = torch.cuda.CUDAGraph(), torch.cuda.CUDAGraph()
        with torch.cuda.graph(first, capture_error_mode="thread_local"):
            measure()
        with torch.cuda.graph(second, capture_error_mode="thread_local"):
            update()
        if os.path.exists(args.out):
            par.restore(saved)
        else:
            for t in (par.m, par.v, par.step):
                t.zero_()
            par.ema.copy_(par.flat)
        measure, update = first.replay, second.replay
        say("captured")

    def save():
        """Validates and writes the checkpoint, and again beside it where it is the best so far; returns its text."""
        nonlocal best
        value = validate(check, par.smooth(), held, args.scale)
        names = [args.out] + ([args.out + ".best"] if value > best else [])
        best = max(best, value)
        state = {**par.state(), "done": done, "seconds": seconds, "names": par.names, "best": best,
                 "shapes": [list(s) for s in par.shapes], "scale": args.scale}
        for name in names:
            torch.save(state, name + ".part")
            os.replace(name + ".part", name)
        return f"validation {value:.3f} dB"

    say("start:", f"validation {validate(check, par.smooth(), held, args.scale):.3f} dB")
    limit = 60 * args.minutes
    begin, before = time.time(), seconds
    shown, told, steps = time.time(), done, 20 if cuda else 2
    total.zero_()
    while True:
        if rank == 0:
            seconds = before + time.time() - begin
            stop = seconds >= limit or time.time() - start > args.call_seconds
            plan.copy_(torch.tensor([*schedule(seconds / limit, args.lr, args.squared), float(stop)]))
        if world > 1:
            dist.broadcast(plan, 0)
        if plan[2].item():
            break
        for _ in range(steps):
            measure()
            if world > 1:
                dist.all_reduce(par.grad, dist.ReduceOp.AVG if cuda else dist.ReduceOp.SUM)
                if not cuda:
                    par.grad /= world
            update()
        done += steps
        if rank == 0 and time.time() - shown > args.every:
            rate = (done - told) / (time.time() - shown)
            say(f"step {done}, {seconds:.0f} of {limit:.0f} s, {rate:.1f} steps/s, L1 {255 * total.item() / (done - told):.4f},"
                f" gradient {par.grad.norm().item():.4f},", save())
            total.zero_()
            shown, told = time.time(), done
    if rank == 0:
        say(f"end: step {done}, {seconds:.0f} s, {(done - told) / max(1e-9, time.time() - shown):.1f} steps/s,", save())
    if world > 1:
        dist.barrier()
        dist.destroy_process_group()


if __name__ == "__main__":
    main()
