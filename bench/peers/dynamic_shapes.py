#!/usr/bin/env python3
"""Prompts of random lengths through torch.compile(dynamic=True) and OpenVINO: beside dynamic_shapes.

  python -m venv VENV && VENV/bin/pip install torch openvino
  VENV/bin/python bench/peers/dynamic_shapes.py [COUNT [MOST]]

A decoder of the bundled model's shape (models/bundled/config.json) with random weights in f32; COUNT (200)
prompts of 1 to MOST (256) tokens, logits of the last. What is not installed is left out, and said to be.
Each runs in processes of its own: on an empty cache, then on the one that was filled. "compiling" is what a
prompt takes beyond the same prompt's second run, summed; "start" what comes before the first prompt: importing,
making the model, converting it. Padding cannot be counted from outside."""
import json
import math
import os
import subprocess
import sys
import tempfile
import time

VOCAB, HIDDEN, FFN, LAYERS, HEADS, KV, HEAD = 1024, 192, 512, 6, 6, 2, 32


def lengths(count, most):
    """As dynamic_shapes.c has them."""
    state, mask, out = 8, (1 << 64) - 1, []
    for _ in range(count):
        state = (state + 0x9E3779B97F4A7C15) & mask
        z = state
        z = ((z ^ z >> 30) * 0xBF58476D1CE4E5B9) & mask
        z = ((z ^ z >> 27) * 0x94D049BB133111EB) & mask
        out.append(1 + (z ^ z >> 31) % most)
    return out


def make_model():
    import torch
    from torch import nn
    import torch.nn.functional as F

    class Norm(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.ones(HIDDEN))

        def forward(self, x):
            return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-5) * self.weight

    def rotate(x, cos, sin):
        a, b = x.chunk(2, -1)
        return torch.cat((a * cos - b * sin, b * cos + a * sin), -1)

    class Layer(nn.Module):
        def __init__(self):
            super().__init__()
            self.norm, self.post = Norm(), Norm()
            self.q = nn.Linear(HIDDEN, HEADS * HEAD, bias=False)
            self.k = nn.Linear(HIDDEN, KV * HEAD, bias=False)
            self.v = nn.Linear(HIDDEN, KV * HEAD, bias=False)
            self.o = nn.Linear(HEADS * HEAD, HIDDEN, bias=False)
            self.gate = nn.Linear(HIDDEN, FFN, bias=False)
            self.up = nn.Linear(HIDDEN, FFN, bias=False)
            self.down = nn.Linear(FFN, HIDDEN, bias=False)

        def forward(self, x, cos, sin):
            n, h = x.shape[1], self.norm(x)
            q = rotate(self.q(h).view(1, n, HEADS, HEAD).transpose(1, 2), cos, sin)
            k = rotate(self.k(h).view(1, n, KV, HEAD).transpose(1, 2), cos, sin)
            v = self.v(h).view(1, n, KV, HEAD).transpose(1, 2)
            k, v = (t.repeat_interleave(HEADS // KV, 1) for t in (k, v))
            a = F.scaled_dot_product_attention(q, k, v, is_causal=True)
            x = x + self.o(a.transpose(1, 2).reshape(1, n, HEADS * HEAD))
            h = self.post(x)
            return x + self.down(F.silu(self.gate(h)) * self.up(h))

    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.embed = nn.Embedding(VOCAB, HIDDEN)
            self.layers = nn.ModuleList(Layer() for _ in range(LAYERS))
            self.norm = Norm()
            self.register_buffer("freq", torch.tensor([10000 ** (-2 * i / HEAD) for i in range(HEAD // 2)]))

        def forward(self, ids):
            angle = torch.arange(ids.shape[1], dtype=torch.float32)[:, None] * self.freq
            cos, sin, x = angle.cos(), angle.sin(), self.embed(ids)
            for layer in self.layers:
                x = layer(x, cos, sin)
            return F.linear(self.norm(x[:, -1]), self.embed.weight)

    torch.manual_seed(8)
    return torch, Model().eval()


def prepare_torch(cache):
    os.environ["TORCHINDUCTOR_CACHE_DIR"] = cache
    torch, model = make_model()
    import torch._inductor.config as config
    config.fx_graph_cache = True
    compiled = torch.compile(model, dynamic=True)

    def run(n):
        with torch.no_grad():
            return compiled(torch.arange(n)[None] * 7919 % VOCAB).sum().item()

    def graphs():
        from torch._dynamo.utils import counters
        return int(counters["stats"]["unique_graphs"])

    return run, graphs, "torch.compile(dynamic=True) " + torch.__version__


def prepare_openvino(cache):
    import openvino as ov
    torch, model = make_model()
    core = ov.Core()
    core.set_property({"CACHE_DIR": cache, "INFERENCE_PRECISION_HINT": "f32"})
    converted = ov.convert_model(model, example_input=torch.zeros(1, 8, dtype=torch.int64),
                                 input=[("ids", ov.PartialShape([1, -1]), ov.Type.i64)])
    compiled = core.compile_model(converted, "CPU")

    def run(n):
        return float(compiled((torch.arange(n)[None] * 7919 % VOCAB).numpy())[0].sum())

    return run, lambda: 1, "OpenVINO " + ov.__version__.split("-")[0]


PEERS = {"torch": prepare_torch, "openvino": prepare_openvino}


def child(peer, cache, count, most):
    start = time.perf_counter()
    run, graphs, name = PEERS[peer](cache)
    prepared, seconds = time.perf_counter() - start, []
    for again in range(2):
        for n in lengths(count, most):
            t = time.perf_counter()
            if not math.isfinite(run(n)):
                raise SystemExit(peer + ": not a number")
            seconds.append(time.perf_counter() - t)
    first, second = sum(seconds[:count]), sum(seconds[count:])
    print(json.dumps({"name": name, "start": prepared, "first": first, "second": second, "graphs": graphs(),
                      "longest": max(seconds[:count])}))


def main():
    if len(sys.argv) > 2 and sys.argv[1] == "--child":
        return child(sys.argv[2], sys.argv[3], int(sys.argv[4]), int(sys.argv[5]))
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 200
    most = int(sys.argv[2]) if len(sys.argv) > 2 else 256
    print(f"{count} prompts of 1 to {most} tokens, {sum(lengths(count, most))} in all")
    print(f"{'peer, cache':40} {'s':>8} {'start':>8} {'compiling':>10} {'running':>8} {'graphs':>7} {'longest s':>10}")
    for peer in PEERS:
        with tempfile.TemporaryDirectory() as cache:
            for state in "empty", "full":
                p = subprocess.run([sys.executable, __file__, "--child", peer, cache, str(count), str(most)],
                                   capture_output=True, text=True)
                if p.returncode:
                    print(f"{peer}: left out: {(p.stderr.strip().splitlines() or ['it failed'])[-1]}")
                    break
                r = json.loads(p.stdout.splitlines()[-1])
                wall = r["start"] + r["first"]
                print(f"{r['name'] + ', ' + state:40} {wall:8.2f} {r['start'] / wall:8.1%}"
                      f" {max(r['first'] - r['second'], 0) / wall:10.1%} {min(r['second'], r['first']) / wall:8.1%}"
                      f" {r['graphs']:7} {r['longest']:10.2f}", flush=True)


if __name__ == "__main__":
    main()
