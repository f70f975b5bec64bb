# SPDX-License-Identifier: Apache-2.0
"""SwinIR in plain PyTorch, written from the paper's definition, with the official tensor names.

An official checkpoint loads with `load_weights`; the buffers it may carry (attn_mask,
relative_position_index) depend on nothing but the sizes and are recomputed here, so they are ignored.
This is the slow and obvious version: it is what the C code and `fast.py` are compared with.
"""
import torch
import torch.nn as nn
import torch.nn.functional as F

MEAN = (0.4488, 0.4371, 0.4040)
LIGHT = dict(embed_dim=60, depths=(6, 6, 6, 6), heads=6, window=8, mlp_ratio=2, upsampler="pixelshuffledirect")


def bias_index(w):
    """[w*w, w*w] row of the bias table for (query, key): (dy + w-1)*(2w-1) + dx + w-1, query minus key."""
    y, x = torch.meshgrid(torch.arange(w), torch.arange(w), indexing="ij")
    y, x = y.flatten(), x.flatten()
    return (y[:, None] - y[None] + w - 1) * (2 * w - 1) + x[:, None] - x[None] + w - 1


def partition(x, w):
    """[B, H, W, C] -> [B * windows, w*w, C]"""
    b, h, wd, c = x.shape
    return x.view(b, h // w, w, wd // w, w, c).transpose(2, 3).reshape(-1, w * w, c)


def unpartition(x, w, b, h, wd):
    """The inverse of `partition`."""
    return x.view(b, h // w, wd // w, w, w, -1).transpose(2, 3).reshape(b, h, wd, -1)


def shift_mask(h, wd, w, shift):
    """[windows, w*w, w*w]: -100 where a rolled window joins pixels that were not neighbours, else 0."""
    def region(n):
        i = torch.arange(n)
        return (i >= n - w).long() + (i >= n - shift).long()
    ids = partition((3 * region(h)[:, None] + region(wd)[None])[None, :, :, None], w)[..., 0]
    return torch.where(ids[:, :, None] == ids[:, None], 0.0, -100.0)


class Attention(nn.Module):
    def __init__(self, dim, heads, window):
        super().__init__()
        self.heads, self.scale = heads, (dim // heads) ** -0.5
        self.relative_position_bias_table = nn.Parameter(torch.zeros((2 * window - 1) ** 2, heads))
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)
        self.register_buffer("index", bias_index(window), persistent=False)
        nn.init.trunc_normal_(self.relative_position_bias_table, std=0.02)

    def forward(self, x, mask):
        n, t, c = x.shape
        q, k, v = self.qkv(x).view(n, t, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        s = (q * self.scale) @ k.transpose(-2, -1)
        s = s + self.relative_position_bias_table[self.index].permute(2, 0, 1)
        if mask is not None:
            s = (s.view(-1, mask.shape[0], *s.shape[1:]) + mask[:, None]).view_as(s)
        return self.proj((s.softmax(-1) @ v).transpose(1, 2).reshape(n, t, c))


class Mlp(nn.Module):
    def __init__(self, dim, hidden):
        super().__init__()
        self.fc1 = nn.Linear(dim, hidden)
        self.fc2 = nn.Linear(hidden, dim)

    def forward(self, x):
        return self.fc2(F.gelu(self.fc1(x)))


class Block(nn.Module):
    def __init__(self, dim, heads, window, shift, mlp_ratio):
        super().__init__()
        self.window, self.shift = window, shift
        self.norm1 = nn.LayerNorm(dim)
        self.attn = Attention(dim, heads, window)
        self.norm2 = nn.LayerNorm(dim)
        self.mlp = Mlp(dim, int(dim * mlp_ratio))

    def forward(self, x):
        b, h, wd, _ = x.shape
        w, s = self.window, self.shift
        t, mask = self.norm1(x), None
        if s:
            t = t.roll((-s, -s), (1, 2))
            mask = shift_mask(h, wd, w, s).to(t)
        t = unpartition(self.attn(partition(t, w), mask), w, b, h, wd)
        x = x + (t.roll((s, s), (1, 2)) if s else t)
        return x + self.mlp(self.norm2(x))


def residual_conv(dim, kind):
    if kind == "1conv":
        return nn.Conv2d(dim, dim, 3, 1, 1)
    return nn.Sequential(nn.Conv2d(dim, dim // 4, 3, 1, 1), nn.LeakyReLU(0.2),
                         nn.Conv2d(dim // 4, dim // 4, 1), nn.LeakyReLU(0.2),
                         nn.Conv2d(dim // 4, dim, 3, 1, 1))


def conv_tokens(conv, t):
    """A convolution over [B, H, W, C] tokens."""
    return conv(t.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)


class Group(nn.Module):
    """A residual group (RSTB): blocks, then one convolution, around a skip."""

    def __init__(self, dim, depth, heads, window, mlp_ratio, resi):
        super().__init__()
        self.residual_group = nn.Module()
        self.residual_group.blocks = nn.ModuleList(
            Block(dim, heads, window, window // 2 if j % 2 else 0, mlp_ratio) for j in range(depth))
        self.conv = residual_conv(dim, resi)

    def forward(self, x):
        t = x
        for block in self.residual_group.blocks:
            t = block(t)
        return x + conv_tokens(self.conv, t)


class SwinIR(nn.Module):
    def __init__(self, scale=4, channels=3, embed_dim=180, depths=(6,) * 6, heads=6, window=8, mlp_ratio=2,
                 upsampler="pixelshuffle", resi="1conv", img_range=1.0):
        super().__init__()
        self.scale, self.window, self.upsampler, self.img_range = scale, window, upsampler, img_range
        mean = MEAN if channels == 3 else (0.0,) * channels
        self.register_buffer("mean", torch.tensor(mean).view(1, -1, 1, 1), persistent=False)
        self.conv_first = nn.Conv2d(channels, embed_dim, 3, 1, 1)
        self.patch_embed = nn.Module()
        self.patch_embed.norm = nn.LayerNorm(embed_dim)
        self.layers = nn.ModuleList(Group(embed_dim, d, heads, window, mlp_ratio, resi) for d in depths)
        self.norm = nn.LayerNorm(embed_dim)
        self.conv_after_body = residual_conv(embed_dim, resi)
        self.make_upsampler(embed_dim, channels, 64)
        for m in self.modules():
            if isinstance(m, nn.Linear):
                nn.init.trunc_normal_(m.weight, std=0.02)
                nn.init.zeros_(m.bias)

    def make_upsampler(self, dim, channels, feat):
        if self.upsampler == "pixelshuffledirect":
            self.upsample = nn.Sequential(nn.Conv2d(dim, self.scale ** 2 * channels, 3, 1, 1),
                                          nn.PixelShuffle(self.scale))
        elif self.upsampler == "pixelshuffle":
            steps = [3] if self.scale == 3 else [2] * (self.scale.bit_length() - 1)
            self.conv_before_upsample = nn.Sequential(nn.Conv2d(dim, feat, 3, 1, 1), nn.LeakyReLU(0.01))
            self.upsample = nn.Sequential(*(m for r in steps for m in
                                            (nn.Conv2d(feat, r * r * feat, 3, 1, 1), nn.PixelShuffle(r))))
            self.conv_last = nn.Conv2d(feat, channels, 3, 1, 1)
        elif self.upsampler == "nearest+conv":
            self.conv_before_upsample = nn.Sequential(nn.Conv2d(dim, feat, 3, 1, 1), nn.LeakyReLU(0.01))
            self.conv_up1 = nn.Conv2d(feat, feat, 3, 1, 1)
            if self.scale == 4:
                self.conv_up2 = nn.Conv2d(feat, feat, 3, 1, 1)
            self.conv_hr = nn.Conv2d(feat, feat, 3, 1, 1)
            self.conv_last = nn.Conv2d(feat, channels, 3, 1, 1)
        else:
            self.conv_last = nn.Conv2d(dim, channels, 3, 1, 1)

    def body(self, f0):
        t = self.patch_embed.norm(f0.permute(0, 2, 3, 1))
        for group in self.layers:
            t = group(t)
        return self.conv_after_body(self.norm(t).permute(0, 3, 1, 2)) + f0

    def reconstruct(self, x, f):
        if self.upsampler == "pixelshuffledirect":
            return self.upsample(f)
        if self.upsampler == "pixelshuffle":
            return self.conv_last(self.upsample(self.conv_before_upsample(f)))
        if self.upsampler == "nearest+conv":
            f = self.conv_before_upsample(f)
            for conv in [self.conv_up1] + ([self.conv_up2] if self.scale == 4 else []):
                f = F.leaky_relu(conv(F.interpolate(f, scale_factor=2, mode="nearest")), 0.2)
            return self.conv_last(F.leaky_relu(self.conv_hr(f), 0.2))
        return x + self.conv_last(f)

    def forward(self, x):
        """[B, C, H, W] in 0..1 -> [B, C, H*scale, W*scale]; pads to the window by reflection, then crops."""
        h, wd = x.shape[2:]
        x = F.pad(x, (0, -wd % self.window, 0, -h % self.window), mode="reflect")
        x = (x - self.mean) * self.img_range
        y = self.reconstruct(x, self.body(self.conv_first(x))) / self.img_range + self.mean
        return y[:, :, :h * self.scale, :wd * self.scale]


def light(scale):
    return SwinIR(scale=scale, **LIGHT)


def load_weights(model, state):
    """Loads a state dict, official or ours, leaving out buffers; every parameter must be there."""
    for key in ("params_ema", "params"):
        state = state.get(key, state)
    state = {k: v.float() for k, v in state.items() if not k.endswith(("attn_mask", "relative_position_index"))}
    model.load_state_dict(state)
    return model
