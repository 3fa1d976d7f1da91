#!/usr/bin/env python3
"""Numbers for tests/torch/test_streams.c, by torch 2.4:  python3 tests/torch/streams.py

Blocks of two streams: FluxTransformerBlock of diffusers 0.31 (transformer_flux.py; rotary tables of 1 and 0), and
SD3's JointTransformerBlock (attention.py), of which the last leaves the text alone."""
import torch
from torch.nn import functional as F

from group import Group

g = Group(__file__)
H, N = 8, 2


class Weights(dict):
    def linear(self, name, rows, columns):
        self[name + ".weight"] = g.randn(rows, columns, scale=columns ** -0.5)
        self[name + ".bias"] = g.randn(rows, scale=0.3)

    def lin(self, name, x):
        return F.linear(x, self[name + ".weight"], self[name + ".bias"])


def rms(x, w):
    return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-6) * w


def norm(x):
    return F.layer_norm(x, (H,), eps=1e-6)


def add_stream(w, p, qk_norm, last):
    w.linear(p + "norm1.linear", (2 if last else 6) * H, H)
    for part in "qkv":
        w.linear(p + part, H, H)
    if qk_norm:
        for part in "qk":
            w[p + f"norm_{part}.weight"] = 1 + g.randn(H // N, scale=0.3)
    if not last:
        w.linear(p + "out", H, H)
        w.linear(p + "ff.0", 3 * H, H)
        w.linear(p + "ff.2", H, 3 * H)


def blocks(layers, qk_norm, leave_text):
    w = Weights()
    for i in range(layers):
        for s in ("img", "txt"):
            add_stream(w, f"blocks.{i}.{s}.", qk_norm, leave_text and i == layers - 1 and s == "txt")

    def projected(p, x):
        q, k, v = (w.lin(p + part, x).unflatten(-1, (N, -1)) for part in "qkv")
        if qk_norm:
            q, k = (rms(t, w[p + f"norm_{part}.weight"]) for t, part in ((q, "q"), (k, "k")))
        return q, k, v

    def run(img, txt, temb):
        x = dict(img=img, txt=txt)
        for i in range(layers):
            last = leave_text and i == layers - 1
            mod, heads = {}, {}
            for s in ("img", "txt"):
                p = f"blocks.{i}.{s}."
                m = w.lin(p + "norm1.linear", F.silu(temb))[:, None].chunk(2 if last and s == "txt" else 6, -1)
                # AdaLayerNormZero is shift, scale, gate; AdaLayerNormContinuous scale, shift
                shift, scale = m[:2] if len(m) == 6 else (m[1], m[0])
                mod[s] = m
                heads[s] = projected(p, norm(x[s]) * (1 + scale) + shift)
            q, k, v = (torch.cat([heads["txt"][j], heads["img"][j]], 1).transpose(1, 2) for j in range(3))
            y = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
            parts = dict(txt=y[:, :txt.shape[1]], img=y[:, txt.shape[1]:])
            for s in ("img", "txt"):
                p, m = f"blocks.{i}.{s}.", mod[s]
                if len(m) == 2:
                    continue
                h = x[s] + m[2] * w.lin(p + "out", parts[s])
                f = w.lin(p + "ff.2", F.gelu(w.lin(p + "ff.0", norm(h) * (1 + m[4]) + m[3]), approximate="tanh"))
                x[s] = h + m[5] * f
        return dict(img_out=x["img"]) if leave_text else dict(img_out=x["img"], txt_out=x["txt"])

    return run, w


def inputs(batch):
    return dict(img=g.randn(batch, 5, H), txt=g.randn(batch, 3, H), temb=g.randn(batch, H))


g.case("flux", *blocks(2, True, False), inputs(2), inputs(1))
g.case("sd3", *blocks(2, False, True), inputs(2))
g.save()
