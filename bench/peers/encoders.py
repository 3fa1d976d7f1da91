#!/usr/bin/env python3
"""The shapes of bench/encoders.c by torch, in turns with it: ms of both, and their ratios.

    encoders.py ENCODERS [--threads N] [--rounds N] [--compile] [--openvino] [--onnxruntime] [NAME...]

ENCODERS is the program that the build puts in bin/. Needs torch (pip install torch); --compile runs torch.compile,
which needs a C++ compiler, beside eager torch, --openvino OpenVINO (pip install openvino) on what it makes of torch's
graph, --onnxruntime ONNX Runtime (pip install onnx onnxruntime) on the graph that torch exports; all in f32. Processor
time is printed, too: on a machine that others use, wall time says little.
"""
import argparse
import io
import re
import statistics
import subprocess
import time

import torch
import torch.nn.functional as F

# name: layers, hidden, heads, inner, batch, tokens, kind
SHAPES = {
    "bert-base-128": (12, 768, 12, 3072, 1, 128, "bert"),
    "bert-base-512": (12, 768, 12, 3072, 1, 512, "bert"),
    "minilm-l6-32x128": (6, 384, 12, 1536, 32, 128, "bert"),
    "vit-b14-518": (12, 768, 12, 3072, 1, 1370, "vit"),
    "whisper-base-1500": (6, 512, 8, 2048, 1, 1500, "whisper"),
}


def weights(*shape):
    return (torch.rand(*shape) - 0.5) * 0.07


class Layer:
    def __init__(self, hidden, heads, inner, kind):
        self.heads, self.kind, self.hidden = heads, kind, hidden
        self.qkv, self.qkv_bias = weights(3 * hidden, hidden), weights(3 * hidden)
        self.out, self.out_bias = weights(hidden, hidden), weights(hidden)
        self.up, self.up_bias = weights(inner, hidden), weights(inner)
        self.down, self.down_bias = weights(hidden, inner), weights(hidden)
        self.norm = [(torch.ones(hidden), weights(hidden)) for _ in range(2)]
        self.scale = [torch.ones(hidden) for _ in range(2)]

    def normed(self, x, i):
        return F.layer_norm(x, (self.hidden,), *self.norm[i], 1e-6)

    def attention(self, x):
        b, s, h = x.shape
        split = F.linear(x, self.qkv, self.qkv_bias).view(b, s, 3, self.heads, h // self.heads)
        q, k, v = split.permute(2, 0, 3, 1, 4)
        y = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(b, s, h)
        return F.linear(y, self.out, self.out_bias)

    def ffn(self, x):
        return F.linear(F.gelu(F.linear(x, self.up, self.up_bias)), self.down, self.down_bias)

    def __call__(self, x):
        if self.kind == "bert":
            x = self.normed(x + self.attention(x), 0)
            return self.normed(x + self.ffn(x), 1)
        scale = self.scale if self.kind == "vit" else (1, 1)
        x = x + self.attention(self.normed(x, 0)) * scale[0]
        return x + self.ffn(self.normed(x, 1)) * scale[1]


class Encoder:
    def __init__(self, layers, hidden, heads, inner, batch, tokens, kind):
        self.kind, self.hidden = kind, hidden
        self.layers = [Layer(hidden, heads, inner, kind) for _ in range(layers)]
        self.positions, self.cls = weights(tokens, hidden), weights(1, 1, hidden)
        self.norm = (torch.ones(hidden), weights(hidden))
        self.bias = [weights(hidden), weights(hidden)]
        if kind == "vit":
            self.patch, self.x = weights(hidden, 3, 14, 14), torch.rand(1, 3, 518, 518)
        elif kind == "whisper":
            self.conv = [weights(hidden, 80, 3), weights(hidden, hidden, 3)]
            self.x = torch.rand(1, 80, 3000)
        else:
            self.x = torch.rand(batch, tokens, hidden)

    def __call__(self, x):
        if self.kind == "vit":
            x = F.conv2d(x, self.patch, self.bias[0], stride=14).flatten(2).transpose(1, 2)
            x = torch.cat([self.cls, x], 1) + self.positions
        elif self.kind == "whisper":
            x = F.gelu(F.conv1d(x, self.conv[0], self.bias[0], padding=1))
            x = F.gelu(F.conv1d(x, self.conv[1], self.bias[1], stride=2, padding=1))
            x = x.transpose(1, 2) + self.positions
        for layer in self.layers:
            x = layer(x)
        return x if self.kind == "bert" else F.layer_norm(x, (self.hidden,), *self.norm, 1e-6)


class Module(torch.nn.Module):
    """An encoder as what converters take."""

    def __init__(self, encoder):
        super().__init__()
        self.encoder = encoder

    def forward(self, x):
        return self.encoder(x)


def openvino_of(encoder, threads):
    import openvino

    with torch.no_grad():
        traced = torch.jit.trace(Module(encoder), encoder.x, check_trace=False)
        graph = openvino.convert_model(traced, example_input=encoder.x)
    settings = {"INFERENCE_NUM_THREADS": threads, "INFERENCE_PRECISION_HINT": "f32", "PERFORMANCE_HINT": "LATENCY"}
    request = openvino.Core().compile_model(graph, "CPU", settings).create_infer_request()
    return lambda x: request.infer([x.numpy()])


def onnxruntime_of(encoder, threads):
    import onnxruntime

    graph = io.BytesIO()
    with torch.no_grad():
        torch.onnx.export(Module(encoder), (encoder.x,), graph, input_names=["x"], opset_version=17)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(graph.getvalue(), options, providers=["CPUExecutionProvider"])
    return lambda x: session.run(None, {"x": x.numpy()})


def run_torch(call, x):
    """Milliseconds, of the clock and of the processor."""
    wall, busy = time.perf_counter(), time.process_time()
    call(x)
    return 1e3 * (time.perf_counter() - wall), 1e3 * (time.process_time() - busy)


def run_rlx(program, name, threads):
    text = subprocess.run([program, "-t", str(threads), "-r", "3", name], check=True, capture_output=True, text=True)
    found = re.search(r"([\d.]+) ms.*processor ([\d.]+) ms", text.stdout)
    if not found:
        raise SystemExit(f"no times in what {program} printed: {text.stdout}")
    return float(found.group(1)), float(found.group(2))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("program")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--openvino", action="store_true")
    parser.add_argument("--onnxruntime", action="store_true")
    parser.add_argument("names", nargs="*", default=list(SHAPES))
    args = parser.parse_intermixed_args()
    torch.set_num_threads(args.threads)
    for name in args.names or SHAPES:
        model = Encoder(*SHAPES[name])
        peers = {"torch": model}
        if args.compile:
            peers["torch.compile"] = torch.compile(model.__call__)
        if args.openvino:
            peers["OpenVINO"] = openvino_of(model, args.threads)
        if args.onnxruntime:
            peers["ONNX Runtime"] = onnxruntime_of(model, args.threads)
        times = {peer: [] for peer in ["rlx", *peers]}
        with torch.inference_mode():
            for call in peers.values():
                call(model.x)
            for _ in range(args.rounds):
                times["rlx"].append(run_rlx(args.program, name, args.threads))
                for peer, call in peers.items():
                    times[peer].append(run_torch(call, model.x))
        rlx = [statistics.median(t[i] for t in times["rlx"]) for i in range(2)]
        for peer in peers:
            other = [statistics.median(t[i] for t in times[peer]) for i in range(2)]
            print(f"{name:18} rlx {rlx[0]:9.2f} ms, processor {rlx[1]:9.2f};  {peer} {other[0]:9.2f} ms, "
                  f"processor {other[1]:9.2f};  {peer} / rlx {other[0] / rlx[0]:.2f}, {other[1] / rlx[1]:.2f}", flush=True)


if __name__ == "__main__":
    main()
