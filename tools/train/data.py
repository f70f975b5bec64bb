# SPDX-License-Identifier: Apache-2.0
"""The training set: packs photographs into a folder of JPEG files, and serves random crops of it from the GPU.

    python data.py pack ROOT OUT     ROOT/<source>/... as named in photographs.tsv -> OUT/*.jpg

Wallpapers are large and softly compressed: reducing them gives crisp pixels with no visible JPEG blocks.
"""
import io
import pathlib
import random
import re
import struct
import sys

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, ImageDraw, ImageFont

Image.MAX_IMAGE_PIXELS = None
HERE = pathlib.Path(__file__).parent


def bicubic_matrix(n_in, n_out):
    """[n_out, n_in] weights of MATLAB's imresize: cubic a = -0.5, widened when reducing, edges mirrored."""
    ratio = n_out / n_in
    stretch = min(ratio, 1.0)
    centre = (np.arange(n_out) + 0.5) / ratio - 0.5
    first = np.floor(centre - 2 / stretch).astype(int)
    at = first[:, None] + np.arange(int(np.ceil(4 / stretch)) + 2)
    d = np.abs(centre[:, None] - at) * stretch
    w = np.where(d <= 1, 1.5 * d ** 3 - 2.5 * d ** 2 + 1, np.where(d < 2, -0.5 * d ** 3 + 2.5 * d ** 2 - 4 * d + 2, 0))
    w /= w.sum(1, keepdims=True)
    at %= 2 * n_in
    at = np.where(at < n_in, at, 2 * n_in - 1 - at)
    m = np.zeros((n_out, n_in))
    np.add.at(m, (np.arange(n_out)[:, None], at), w)
    return m


def resize(image, h, w):
    """MATLAB bicubic of a uint8 [H, W, 3] tensor; like imresize it rounds to uint8 after either pass."""
    x = image.to(torch.float32)
    rows = torch.from_numpy(bicubic_matrix(x.shape[0], h)).to(x)
    cols = torch.from_numpy(bicubic_matrix(x.shape[1], w)).to(x)
    x = torch.einsum("hi,iwc->hwc", rows, x).round().clamp(0, 255)
    return torch.einsum("wj,hjc->hwc", cols, x).round().clamp(0, 255).to(torch.uint8)


# ---- packing -----------------------------------------------------------------------------------

def reduced(image):
    """A photograph at the size where its pixels are crisp."""
    long = max(image.size)
    factor = min(1800 / long, 0.5 if long >= 1900 else 0.65 if long >= 1000 else 0.8)
    return image.convert("RGB").resize([round(n * factor) for n in image.size], Image.LANCZOS)


def members(path):
    """The photographs inside a Qt resource file: its WebP images without transparency, from 600 pixels."""
    data = path.read_bytes()
    for m in re.finditer(rb"RIFF....WEBP", data, re.S):
        size = struct.unpack("<I", data[m.start() + 4:m.start() + 8])[0] + 8
        image = Image.open(io.BytesIO(data[m.start():m.start() + size]))
        if image.mode == "RGB" and max(image.size) >= 600:
            yield image


def stamp_sheets(folder, size=1024):
    """Cut-out photographs laid out on plain sheets, in rows."""
    rng = random.Random(1)
    stamps = []
    for path in sorted(folder.rglob("*.png")):
        if not {"cartoon", "symbols", "flags", "roadsigns"} & set(path.parts):
            image = Image.open(path).convert("RGBA")
            image = image.crop(image.getbbox())
            if 100 <= min(image.size) and max(image.size) <= size:
                stamps.append(image)
    stamps.sort(key=lambda s: -s.height)
    while stamps:
        grey = rng.randrange(40, 216)
        sheet = Image.new("RGB", (size, size), tuple(grey + rng.randint(-40, 39) for _ in range(3)))
        x = y = row = 0
        rest = []
        for s in stamps:
            if x + s.width > size:
                x, y, row = 0, y + row, 0
            if y + s.height > size or x + s.width > size:
                rest.append(s)
                continue
            sheet.paste(s, (x, y), s)
            x, row = x + s.width, max(row, s.height)
        stamps = rest
        yield sheet


def drawn_sheets(count=6, size=1024, over=3):
    """Text, lines, gratings and polygons, drawn large and reduced: edges no photograph holds."""
    rng = random.Random(2)
    fonts = sorted(pathlib.Path("/usr/share/fonts").rglob("*.ttf"))
    words = (HERE / "data.py").read_text().split()

    def colour():
        grey = rng.choice([0, 255, rng.randrange(256)])
        return rng.choice([(grey,) * 3, tuple(rng.randrange(256) for _ in range(3))])
    for n in range(count):
        big = size * over
        sheet = Image.new("RGB", (big, big), (255, 255, 255) if n % 2 else colour())
        d = ImageDraw.Draw(sheet)
        for _ in range(50):
            x, y, r = rng.randrange(big), rng.randrange(big), rng.randrange(20, 200) * over
            kind = rng.randrange(5)
            if kind == 0:
                d.polygon([(x + rng.randint(-r, r), y + rng.randint(-r, r)) for _ in range(rng.randint(3, 7))],
                          colour(), colour(), rng.randrange(1, 5) * over)
            elif kind == 1:
                d.ellipse((x - r, y - r // 2, x + r, y + r // 2), rng.choice([None, colour()]), colour(),
                          rng.randrange(1, 6) * over)
            elif kind == 2:
                a, b, c, dx, dy = colour(), rng.randrange(3, 14) * over, rng.randint(-r, r), 2 * r, rng.randint(-r, r)
                for i in range(rng.randint(4, 25)):
                    d.line((x, y + i * b, x + dx, y + dy + i * (b + c // 200)), a, max(1, b // 2))
            else:
                font = ImageFont.truetype(rng.choice(fonts), rng.randrange(9, 40) * over) if fonts else None
                text = "\n".join(" ".join(rng.choices(words, k=6)) for _ in range(rng.randint(1, 6)))
                d.multiline_text((x - r, y), text, fill=colour(), font=font)
        yield sheet.resize((size, size), Image.LANCZOS)


def pack(root, out):
    out.mkdir(parents=True, exist_ok=True)
    total = 0

    def save(image, name):
        nonlocal total
        image.save(out / f"{name}.jpg", quality=93, subsampling=0)
        total += image.width * image.height
    for n, line in enumerate((HERE / "photographs.tsv").read_text().splitlines()[1:]):
        source, name, _, _, use = line.split("\t")
        folder = root / source.removeprefix("github:").replace("/", "+")
        if name == "stamps":
            for k, sheet in enumerate(stamp_sheets(folder)):
                save(sheet, f"train_{n:03}_{k:03}")
        elif name.endswith(".rcc"):
            for k, image in enumerate(members(next(folder.rglob(name)))):
                save(reduced(image), f"{'val' if k % 12 == 7 else use}_{n:03}_{k:03}")
        else:
            path = next(p for p in folder.rglob(name.split("/")[-1]) if str(p).endswith(name))
            save(reduced(Image.open(path)), f"{use}_{n:03}")
    for k, sheet in enumerate(drawn_sheets()):
        save(sheet, f"train_drawn_{k:03}")
    print(f"{len(list(out.glob('*.jpg')))} pictures, {total / 1e6:.1f} Mpixel, "
          f"{sum(p.stat().st_size for p in out.glob('*.jpg')) / 2 ** 20:.1f} MiB")


# ---- serving -----------------------------------------------------------------------------------

class Crops:
    """Random aligned crops (low, high), flipped and turned, from all pictures kept on the device."""

    def __init__(self, folder, scale, size, device, use="train", copies=(1.0, 0.75, 0.5), stride=8):
        self.scale, self.size, self.device = scale, size, device
        low, high, places, weights = [], [], [], []
        lows = highs = 0
        for path in sorted(pathlib.Path(folder).glob(f"{use}_*.jpg")):
            full = torch.from_numpy(np.array(Image.open(path).convert("RGB"))).to(device)
            for copy in copies:
                h, w = (int(n * copy) // scale for n in full.shape[:2])
                if min(h, w) < size:
                    continue
                hr = (full if copy == 1 else resize(full, int(full.shape[0] * copy), int(full.shape[1] * copy)))
                hr = hr[:h * scale, :w * scale].contiguous()
                lr = resize(hr, h, w)
                y = torch.arange(0, h - size + 1, stride, device=device)
                x = torch.arange(0, w - size + 1, stride, device=device)
                places.append(torch.stack([torch.full((len(y) * len(x),), v, device=device) for v in (lows, highs, h, w)]
                                          + [y.repeat_interleave(len(x)), x.repeat(len(y))], 1))
                weights.append(self.detail(lr, size, stride).flatten())
                low.append(lr.reshape(-1, 3))
                high.append(hr.reshape(-1, 3))
                lows, highs = lows + h * w, highs + h * w * scale * scale
        self.low, self.high, self.places = torch.cat(low), torch.cat(high), torch.cat(places)
        self.sum = torch.cat(weights).double().cumsum(0)
        self.sum /= self.sum[-1].clone()
        self.grid = torch.arange(size * scale, device=device)

    @staticmethod
    def detail(lr, size, stride):
        """How much there is to learn in each crop: the root of its mean gradient, with a floor and a ceiling."""
        g = lr.float().mean(2)
        g = (g[1:, :-1] - g[:-1, :-1]).abs() + (g[:-1, 1:] - g[:-1, :-1]).abs()
        g = F.avg_pool2d(F.pad(g, (0, 1, 0, 1))[None, None], size, stride)[0, 0]
        return (g / 255).clamp(0.002, 0.1).sqrt()

    def cut(self, flat, start, width, y, x, n, turn):
        """[B, n, n, 3] of a flat picture: one gather, the flips and the turn done on the coordinates."""
        i, j = self.grid[:n].view(1, n, 1), self.grid[:n].view(1, 1, n)
        flip_y, flip_x, swap = ((turn >> k & 1).view(-1, 1, 1) for k in range(3))
        u = torch.where(swap == 1, j, i)
        v = torch.where(swap == 1, i, j)
        u = torch.where(flip_y == 1, n - 1 - u, u)
        v = torch.where(flip_x == 1, n - 1 - v, v)
        at = start.view(-1, 1, 1) + (y.view(-1, 1, 1) + u) * width.view(-1, 1, 1) + x.view(-1, 1, 1) + v
        return flat[at].float() / 255

    def take(self, place, turn):
        low, high, h, w, y, x = self.places[place].unbind(1)
        s, n = self.scale, self.size
        return (self.cut(self.low, low, w, y, x, n, turn), self.cut(self.high, high, w * s, y * s, x * s, n * s, turn))

    def sample(self, batch):
        """Fresh crops; only device work, so that it can be captured in a CUDA graph."""
        u = torch.rand(batch, device=self.device, dtype=torch.float64)
        place = torch.searchsorted(self.sum, u).clamp(max=len(self.sum) - 1)
        return self.take(place, torch.randint(8, (batch,), device=self.device))

    def fixed(self, batch, count):
        """The same `count` batches every time, spread over all places."""
        at = torch.linspace(0, 1, batch * count + 2, device=self.device, dtype=torch.float64)[1:-1]
        place = torch.searchsorted(self.sum, at).clamp(max=len(self.sum) - 1)
        zero = torch.zeros(batch, device=self.device, dtype=torch.int64)
        return [self.take(p, zero) for p in place.split(batch)]


if __name__ == "__main__":
    if len(sys.argv) != 4 or sys.argv[1] != "pack":
        sys.exit(__doc__)
    pack(pathlib.Path(sys.argv[2]), pathlib.Path(sys.argv[3]))
