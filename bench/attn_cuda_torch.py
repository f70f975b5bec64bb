# SPDX-License-Identifier: Apache-2.0
# PyTorch's attention beside the dense rows of bench_attn_cuda, on the same GPU: cuDNN and FlashAttention-2
# behind scaled_dot_product_attention, bf16, on views (B, H, N, D) of tensors (B, N, H, D).
# usage: attn_cuda_torch.py
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

PROBLEMS = [("dense 32760", 32760, 32760, 12), ("dense 115200", 115200, 115200, 24),
            ("chunk 4680 on 18720", 4680, 18720, 12), ("chunk 4680 on 32760", 4680, 32760, 12)]
DIM = 128


def milliseconds(call):
    """Median of single calls by CUDA events, after warm-up."""
    for _ in range(2):
        call()
    times = []
    while len(times) < 7 or (sum(times) < 150 and len(times) < 60):
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        begin.record()
        call()
        end.record()
        end.synchronize()
        times.append(begin.elapsed_time(end))
    return sorted(times)[len(times) // 2]


def main():
    torch.manual_seed(0)
    a, b = (torch.randn(8192, 8192, device="cuda", dtype=torch.bfloat16) for _ in range(2))
    peak = 2 * 8192**3 / milliseconds(lambda: a @ b) / 1e9
    print(f"# torch {torch.__version__}, cuDNN {torch.backends.cudnn.version()}, {torch.cuda.get_device_name()}; "
          f"bf16 GEMM {peak:.0f} TFLOP/s")
    for name, queries, keys, heads in PROBLEMS:
        q, k, v = (torch.randn(1, n, heads, DIM, device="cuda", dtype=torch.bfloat16).transpose(1, 2)
                   for n in (queries, keys, keys))
        for label, backend in (("cudnn", SDPBackend.CUDNN_ATTENTION), ("flash", SDPBackend.FLASH_ATTENTION)):
            with sdpa_kernel(backend):
                ms = milliseconds(lambda: torch.nn.functional.scaled_dot_product_attention(q, k, v))
            rate = 4.0 * queries * keys * heads * DIM / ms / 1e9
            print(f"{name:30} bf16 {label:8} {ms:9.3f} ms {rate:7.1f} TFLOP/s {rate / peak:5.2f}", flush=True)


if __name__ == "__main__":
    main()
