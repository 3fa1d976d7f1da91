#!/usr/bin/env python3
"""Attention over tensors by torch's scaled_dot_product_attention, in turns with bench/attention.c.

    attention.py ATTENTION [--threads N] [--rounds N] [--queries N] [--widths N,..] [--keys N,..]

ATTENTION is the program that the build puts in bin/. Needs torch (pip install torch). Twelve heads, f32, nothing
masked; of both the best of all rounds, as GFLOP/s, and their ratio.
"""
import argparse
import subprocess
import time

import torch
import torch.nn.functional as F

HEADS = 12


def torch_seconds(width, keys, queries):
    q = torch.rand(1, HEADS, queries, width) - 0.5
    k, v = (torch.rand(1, HEADS, keys, width) - 0.5 for _ in range(2))
    best = float("inf")
    with torch.inference_mode():
        for _ in range(5):
            begin = time.perf_counter()
            F.scaled_dot_product_attention(q, k, v)
            best = min(best, time.perf_counter() - begin)
    return best


def rlx_line(program, threads, width, keys, queries):
    """Seconds, and the share of the peak that the program measured beside them, in percent."""
    sizes = ["-d", str(width), "-n", str(keys), "-p", str(queries)]
    command = [program, "-k", "dense", "-t", str(threads), *sizes]
    words = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
    return float(words[4]) * 1e-6, int(words[8].rstrip("%"))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("program")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--queries", type=int, default=512)
    parser.add_argument("--widths", default="64,128")
    parser.add_argument("--keys", default="512,2048,8192")
    o = parser.parse_args()
    torch.set_num_threads(o.threads)
    print("width   keys  rlx GFLOP/s  share  torch GFLOP/s  ratio")
    for width in map(int, o.widths.split(",")):
        for keys in map(int, o.keys.split(",")):
            queries = min(o.queries, keys)
            work = 4e-9 * HEADS * queries * keys * width
            ours, share, theirs = float("inf"), 0, float("inf")
            for _ in range(o.rounds):
                ours, share = min((ours, share), rlx_line(o.program, o.threads, width, keys, queries))
                theirs = min(theirs, torch_seconds(width, keys, queries))
            print(f"{width:5} {keys:6} {work / ours:12.1f} {share:5}% {work / theirs:14.1f} {theirs / ours:6.2f}", flush=True)


if __name__ == "__main__":
    main()
