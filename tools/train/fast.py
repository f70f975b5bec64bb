# SPDX-License-Identifier: Apache-2.0
"""The training path: the same function as swinir.light, arranged for a GPU.

Window attention is one Triton kernel each way that reads the tokens where they lie: roll, partition, bias,
mask and softmax never reach memory. Matrix products are bf16, the residual stream and the norms fp32.
`check()` compares it with the plain model.
"""
import torch
import torch.nn.functional as F
import triton
import triton.language as tl


@triton.jit
def _place(win, H, W, shift, WS: tl.constexpr):
    """The tokens of a window (where they lie in memory) and the region each belongs to after the roll."""
    t = tl.arange(0, WS * WS)
    nx = W // WS
    ny = H // WS
    b = win // (nx * ny)
    ry = ((win // nx) % ny) * WS + t // WS
    rx = (win % nx) * WS + t % WS
    token = (b * H + (ry + shift) % H) * W + (rx + shift) % W
    region = ((ry >= H - WS).to(tl.int32) + (ry >= H - shift).to(tl.int32)) * 3 \
        + (rx >= W - WS).to(tl.int32) + (rx >= W - shift).to(tl.int32)
    return token, region


@triton.jit
def _softmax(q, k, bias, region, scale):
    s = tl.dot(q, tl.trans(k)) * scale + bias
    s = tl.where(region[:, None] == region[None, :], s, s - 100.0)
    p = tl.exp(s - tl.max(s, 1)[:, None])
    return p / tl.sum(p, 1)[:, None]


@triton.jit
def _forward(qkv, bias, out, H, W, shift, scale, C: tl.constexpr, HEADS: tl.constexpr, WS: tl.constexpr):
    HD: tl.constexpr = C // HEADS
    N: tl.constexpr = WS * WS
    head = tl.program_id(0) % HEADS
    token, region = _place(tl.program_id(0) // HEADS, H, W, shift, WS)
    t = tl.arange(0, N)
    c = tl.arange(0, 16)[None, :]
    at = token[:, None] * (3 * C) + head * HD + c
    q = tl.load(qkv + at, mask=c < HD, other=0.0)
    k = tl.load(qkv + at + C, mask=c < HD, other=0.0)
    v = tl.load(qkv + at + 2 * C, mask=c < HD, other=0.0)
    p = _softmax(q, k, tl.load(bias + head * N * N + t[:, None] * N + t[None, :]), region, scale)
    o = tl.dot(p.to(v.dtype), v)
    tl.store(out + token[:, None] * C + head * HD + c, o.to(v.dtype), mask=c < HD)


@triton.jit
def _backward(qkv, bias, dout, dqkv, dbias, windows, H, W, shift, scale,
              C: tl.constexpr, HEADS: tl.constexpr, WS: tl.constexpr):
    HD: tl.constexpr = C // HEADS
    N: tl.constexpr = WS * WS
    head = tl.program_id(0) % HEADS
    t = tl.arange(0, N)
    c = tl.arange(0, 16)[None, :]
    square = head * N * N + t[:, None] * N + t[None, :]
    bh = tl.load(bias + square)
    db = tl.zeros((N, N), tl.float32)
    for win in range(tl.program_id(0) // HEADS, windows, tl.num_programs(0) // HEADS):
        token, region = _place(win, H, W, shift, WS)
        at = token[:, None] * (3 * C) + head * HD + c
        q = tl.load(qkv + at, mask=c < HD, other=0.0)
        k = tl.load(qkv + at + C, mask=c < HD, other=0.0)
        v = tl.load(qkv + at + 2 * C, mask=c < HD, other=0.0)
        do = tl.load(dout + token[:, None] * C + head * HD + c, mask=c < HD, other=0.0)
        p = _softmax(q, k, bh, region, scale)
        dp = tl.dot(do, tl.trans(v))
        ds = p * (dp - tl.sum(p * dp, 1)[:, None])
        db += ds
        dsh = ds.to(q.dtype)
        tl.store(dqkv + at, (tl.dot(dsh, k) * scale).to(q.dtype), mask=c < HD)
        tl.store(dqkv + at + C, (tl.dot(tl.trans(dsh), q) * scale).to(q.dtype), mask=c < HD)
        tl.store(dqkv + at + 2 * C, tl.dot(tl.trans(p.to(q.dtype)), do).to(q.dtype), mask=c < HD)
    tl.atomic_add(dbias + square, db)


@torch.library.custom_op("oriel::window_attention", mutates_args=())
def window_attention(qkv: torch.Tensor, bias: torch.Tensor, shift: int, window: int) -> torch.Tensor:
    """qkv [B, H, W, 3C] (q, k, v; heads inside), bias [heads, w*w, w*w] fp32 -> [B, H, W, C]"""
    b, h, w, c3 = qkv.shape
    c, heads = c3 // 3, bias.shape[0]
    out = torch.empty((b, h, w, c), dtype=qkv.dtype, device=qkv.device)
    _forward[(b * h * w // window ** 2 * heads,)](qkv, bias, out, h, w, shift, (c // heads) ** -0.5,
                                                  C=c, HEADS=heads, WS=window, num_warps=4)
    return out


@window_attention.register_fake
def _(qkv, bias, shift, window):
    return qkv.new_empty((*qkv.shape[:3], qkv.shape[3] // 3))


@torch.library.custom_op("oriel::window_attention_backward", mutates_args=())
def window_attention_backward(dout: torch.Tensor, qkv: torch.Tensor, bias: torch.Tensor, shift: int,
                              window: int) -> tuple[torch.Tensor, torch.Tensor]:
    b, h, w, c3 = qkv.shape
    c, heads = c3 // 3, bias.shape[0]
    dqkv, dbias = torch.empty_like(qkv), torch.zeros_like(bias)
    windows = b * h * w // window ** 2
    _backward[(min(windows, 256) * heads,)](qkv, bias, dout, dqkv, dbias, windows, h, w, shift, (c // heads) ** -0.5,
                                            C=c, HEADS=heads, WS=window, num_warps=4)
    return dqkv, dbias


@window_attention_backward.register_fake
def _(dout, qkv, bias, shift, window):
    return torch.empty_like(qkv), torch.empty_like(bias)


def _save(ctx, inputs, output):
    ctx.save_for_backward(inputs[0], inputs[1])
    ctx.shift, ctx.window = inputs[2], inputs[3]


def _differentiate(ctx, dout):
    return *window_attention_backward(dout.contiguous(), *ctx.saved_tensors, ctx.shift, ctx.window), None, None


window_attention.register_autograd(_differentiate, setup_context=_save)


def block(x, p, bias, shift, window):
    """One Swin block. x [B, H, W, C] fp32; p: its tensors in the order of BLOCK."""
    n1w, n1b, qkvw, qkvb, pw, pb, n2w, n2b, w1, b1, w2, b2 = p
    half, c = qkvw.dtype, (x.shape[-1],)
    t = F.layer_norm(x, c, n1w, n1b).to(half)
    t = window_attention(F.linear(t, qkvw, qkvb.to(half)), bias, shift, window)
    x = x + F.linear(t, pw, pb.to(half))
    t = F.layer_norm(x, c, n2w, n2b).to(half)
    return x + F.linear(F.gelu(F.linear(t, w1, b1.to(half))), w2, b2.to(half))


BLOCK = ("norm1.weight", "norm1.bias", "attn.qkv.weight", "attn.qkv.bias", "attn.proj.weight", "attn.proj.bias",
         "norm2.weight", "norm2.bias", "mlp.fc1.weight", "mlp.fc1.bias", "mlp.fc2.weight", "mlp.fc2.bias")


def conv(t, w, b):
    """3x3 convolution over [B, H, W, C] in w's type, channels padded to a multiple of 8 for the tensor cores."""
    o, i = w.shape[:2]
    t = F.pad(t.to(w.dtype), (0, -i % 8)).permute(0, 3, 1, 2)
    w = F.pad(w, (0, 0, 0, 0, 0, -i % 8, 0, -o % 8)).contiguous(memory_format=torch.channels_last)
    return F.conv2d(t, w, F.pad(b.to(w.dtype), (0, -o % 8)), padding=1).permute(0, 2, 3, 1)[..., :o]


class Light:
    """Forward of swinir.light over a dict of tensors under the official names."""

    def __init__(self, scale, depths, heads, window, mean, device, run=block):
        self.scale, self.depths, self.heads, self.window, self.run = scale, depths, heads, window, run
        self.mean = torch.tensor(mean, device=device)
        from swinir import bias_index
        self.one_hot = F.one_hot(bias_index(window).flatten(), (2 * window - 1) ** 2).float().to(device)

    def biases(self, p):
        """All bias tables at once, as one product with a fixed 0/1 matrix, so that its gradient is one as well."""
        names = [f"layers.{i}.residual_group.blocks.{j}.attn.relative_position_bias_table"
                 for i, d in enumerate(self.depths) for j in range(d)]
        n = self.window ** 2
        flat = self.one_hot @ torch.cat([p[k] for k in names], 1)
        return flat.view(n, n, len(names), self.heads).permute(2, 3, 0, 1).contiguous().unbind(0)

    def __call__(self, p, x):
        """x [B, H, W, 3] fp32 in 0..1, H and W multiples of the window -> [B, H*s, W*s, 3]"""
        x = x - self.mean
        f0 = conv(x, p["conv_first.weight"], p["conv_first.bias"]).float()
        c = (f0.shape[-1],)
        t = F.layer_norm(f0, c, p["patch_embed.norm.weight"], p["patch_embed.norm.bias"])
        biases = iter(self.biases(p))
        for i, depth in enumerate(self.depths):
            r = t
            for j in range(depth):
                at = f"layers.{i}.residual_group.blocks.{j}."
                t = self.run(t, [p[at + k] for k in BLOCK], next(biases), self.window // 2 if j % 2 else 0, self.window)
            t = r + conv(t, p[f"layers.{i}.conv.weight"], p[f"layers.{i}.conv.bias"])
        t = F.layer_norm(t, c, p["norm.weight"], p["norm.bias"])
        f = conv(t, p["conv_after_body.weight"], p["conv_after_body.bias"]) + f0
        y = conv(f, p["upsample.0.weight"], p["upsample.0.bias"]).float()
        b, h, w, _ = y.shape
        s = self.scale
        y = y.reshape(b, h, w, 3, s, s).permute(0, 1, 4, 2, 5, 3).reshape(b, h * s, w * s, 3)
        return y + self.mean


def check(device="cuda", half=torch.bfloat16, size=24, depths=(2, 2), scale=2):
    """Relative errors of output and gradients against the plain model in fp32; prints and returns the worst."""
    import swinir
    torch.manual_seed(1)
    net = swinir.SwinIR(scale=scale, **{**swinir.LIGHT, "depths": depths}).to(device)
    for n, q in net.named_parameters():
        if n.endswith("bias_table"):
            torch.nn.init.normal_(q, std=0.5)
    x = torch.rand(2, 3, size, size + 8, device=device)
    target = torch.rand(2, 3, size * scale, (size + 8) * scale, device=device)
    y = net(x)
    F.mse_loss(y, target).backward()
    p = {n: q.detach().to(half if q.ndim > 1 and "table" not in n else torch.float32).clone().requires_grad_()
         for n, q in net.named_parameters()}
    light = Light(scale, depths, 6, 8, swinir.MEAN, device)
    z = light(p, x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
    F.mse_loss(z, target).backward()

    def error(a, b):
        return ((a.float() - b).norm() / b.norm()).item()
    errors = {"output": error(z, y)}
    errors.update((n, error(p[n].grad, q.grad)) for n, q in net.named_parameters())
    worst = max(errors, key=errors.get)
    print(f"fast against plain, {half}: output {errors['output']:.2e}, worst {worst} {errors[worst]:.2e}", flush=True)
    return errors[worst]


if __name__ == "__main__":
    import sys
    if "cpu" in sys.argv:  # with TRITON_INTERPRET=1
        check("cpu", torch.float32, 16)
    else:
        check("cuda", torch.float32)
        check("cuda", torch.bfloat16)
