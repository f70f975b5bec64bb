# SPDX-License-Identifier: Apache-2.0
"""golden/window.txt: key lists of neighbourhood attention on axes longer than test_window.c tries itself.

    python tests/golden/make_window_golden.py PATH/na_oracle.py

The lists come from the project's NumPy oracle, which agrees with NATTEN 0.21.7 on a GPU; it is not in this tree.
"""
import importlib.util
import os
import random
import sys

spec = importlib.util.spec_from_file_location("na_oracle", sys.argv[1])
oracle = importlib.util.module_from_spec(spec)
spec.loader.exec_module(oracle)
pick = random.Random(1)
lines = ["# n size stride dilation causal query: keys"]
for _ in range(600):
    n, k = pick.randint(21, 64), pick.randint(2, 12)
    s, d, causal, i = pick.randint(1, k), pick.randint(1, n // k), pick.randint(0, 1), pick.randrange(n)
    lines.append(" ".join(map(str, [n, k, s, d, causal, i, *oracle.window(i, n, k, s, d, causal)])))
with open(os.path.join(os.path.dirname(os.path.abspath(__file__)), "window.txt"), "w") as f:
    f.write("\n".join(lines) + "\n")
