#!/usr/bin/env python3
"""How fast torch multiplies what a model's layers and head do, in bf16: by cuBLAS on NVIDIA's GPUs, by hipBLASLt on AMD's.

    gpu_products.py SHAPE TOKENS HEADS INDEX

Needs torch and a device of that INDEX that it has. Prints operations per second, a multiply-add is two: of TOKENS rows by every matrix of a
layer, over as many layers' weights as no cache holds, and of HEADS rows by the head (of a prompt one, where they decode all).
"""
import sys

import torch

# hidden, layers, heads' width together, keys' width together, feed-forward, vocabulary: as bench/make_model.c has them
SHAPES = {
    "llama-3.2-1b": (2048, 16, 2048, 512, 8192, 128256),
    "llama-3.1-8b": (4096, 32, 4096, 1024, 14336, 128256),
    "qwen3-0.6b": (1024, 28, 2048, 1024, 3072, 151936),
    "tiny": (256, 2, 256, 128, 512, 512),
}
REPEATS = 10


def main():
    shape, (tokens, rows, index) = sys.argv[1], map(int, sys.argv[2:5])
    torch.cuda.set_device(index)
    hidden, layers, queries, keys, ffn, vocab = SHAPES[shape]
    make = dict(device=f"cuda:{index}", dtype=torch.bfloat16)
    sizes = [(queries, hidden), (keys, hidden), (keys, hidden), (hidden, queries), (ffn, hidden), (ffn, hidden), (hidden, ffn)]
    weights = [[torch.randn(size, **make) for size in sizes] for _ in range(layers)]
    head = torch.randn((vocab, hidden), **make)
    inputs = {width: torch.randn((tokens, width), **make) for width in (hidden, queries, ffn)}
    work = 2 * rows * vocab * hidden + 2 * tokens * layers * sum(m * n for m, n in sizes)

    def step():
        for layer in weights:
            for w in layer:
                torch.nn.functional.linear(inputs[w.shape[1]], w)
        torch.nn.functional.linear(inputs[hidden][:rows], head)

    best = float("inf")
    with torch.inference_mode():
        for _ in range(REPEATS):
            begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            begin.record()
            step()
            end.record()
            torch.cuda.synchronize()
            best = min(best, begin.elapsed_time(end) * 1e-3)
    print(int(work / best))


main()
