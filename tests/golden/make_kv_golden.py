# SPDX-License-Identifier: Apache-2.0
"""golden/kv.bin: the frame cache through every configuration that the project's NumPy oracle checks by brute force.

    python tests/golden/make_kv_golden.py PATH/video_oracle.py

The oracle is not in this tree. 34 configurations, 14 chunks of 5 passes each; for each pass 8 outputs and a sum
of all outputs with weights from a hash, float32. Inputs come from the counter hash: nothing is stored.
"""
import importlib.util
import os
import sys

import numpy as np

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import hash as counter  # noqa: E402

spec = importlib.util.spec_from_file_location("video_oracle", sys.argv[1])
oracle = importlib.util.module_from_spec(spec)
spec.loader.exec_module(oracle)

H, D, ROWS, COLUMNS = 2, 12, 2, 3
SIZES = ((9, 3, 3), (12, 3, 3), (6, 1, 1), (7, 0, 2), (8, 2, 2), (5, 1, 2), (21, 3, 3), (7, 3, 2))
out, runs = [], 0
for window, sink, n in SIZES:
    for pos in ("absolute", "relative", "anchor"):
        for ema in (None, 0.9):
            if ema is not None and (pos == "absolute" or sink != n or (window - sink) % n):
                continue
            cache = oracle.FrameSinkCache(window, sink, ROWS, COLUMNS, H, D, pos, ema)
            for step in range(14 * 5):
                seed = runs * 100 + step + 1
                shape = (3, H, n * ROWS * COLUMNS, D)
                q, k, v = (2 * counter.unit(seed, *shape).astype(np.float64) - 1) * 2
                o = cache.step(step // 5 * n, q, k, v).reshape(-1)
                pick = counter.numbers(seed + 100000, 8) % np.uint64(o.size)
                weight = 2 * counter.unit(seed + 200000, o.size).astype(np.float64) - 1
                out += [*o[pick.astype(int)], float((o * weight).sum())]
            runs += 1
assert runs == 34
path = os.path.join(os.path.dirname(os.path.abspath(__file__)), "kv.bin")
np.array(out, np.float32).tofile(path)
print(runs, "configurations,", os.path.getsize(path), "bytes")
