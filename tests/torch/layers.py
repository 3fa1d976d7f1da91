#!/usr/bin/env python3
"""Numbers for tests/torch/test_layers.c, by torch 2.4:  python3 tests/torch/layers.py

Layers of models as transformers 5.23 has them (eager attention; the file is named above each), DINOv2 and Nomic's
vision model as their authors have them."""
import torch
from torch.nn import functional as F

from attention import NEG, adjacent, attend, bucket, half, inv, places
from group import Group

g = Group(__file__)


class Weights(dict):
    def linear(self, name, rows, columns, bias=True):
        self[name + ".weight"] = g.randn(rows, columns, scale=columns ** -0.5)
        if bias:
            self[name + ".bias"] = g.randn(rows, scale=0.3)

    def norm(self, name, n, bias=True, about=1.0):
        self[name + ".weight"] = about + g.randn(n, scale=0.3)
        if bias:
            self[name + ".bias"] = g.randn(n, scale=0.3)

    def lin(self, name, x):
        return F.linear(x, self[name + ".weight"], self.get(name + ".bias"))

    def ln(self, name, x, eps):
        return F.layer_norm(x, x.shape[-1:], self[name + ".weight"], self[name + ".bias"], eps)

    def rms(self, name, x, eps, plus=0.0):
        return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + eps) * (plus + self[name + ".weight"])


def heads(x, n):
    return x.unflatten(-1, (n, -1))


def rotate(x, f):  # x [..,S,N,D], f [S,R/2]
    c, s = (torch.cat([t, t], -1)[:, None] for t in (f.cos(), f.sin()))
    r = c.shape[-1]
    return torch.cat([x[..., :r] * c + half(x[..., :r]) * s, x[..., r:]], -1)


MASK = torch.tensor([[1, 1, 1, 1, 0], [1, 1, 0, 1, 1]], dtype=torch.int32)


def seen(mask):
    return mask.bool()[:, None, None, :]


# ---- modeling_bert.py, modeling_mpnet.py: 2 layers, 2 heads of 3

def bert(mpnet):
    w = Weights()
    names = dict(q="attn.q", k="attn.k", v="attn.v", o="attn.o", n="LayerNorm") if mpnet else dict(
        q="self.query", k="self.key", v="self.value", o="output.dense", n="output.LayerNorm")
    for i in range(2):
        p = f"encoder.layer.{i}."
        for part in "qkvo":
            w.linear(p + "attention." + names[part], 6, 6)
        w.norm(p + "attention." + names["n"], 6)
        w.linear(p + "intermediate.dense", 7, 6)
        w.linear(p + "output.dense", 6, 7)
        w.norm(p + "output.LayerNorm", 6)
    if mpnet:
        w["encoder.relative_attention_bias.weight"] = g.randn(32, 2)

    def run(x, attention_mask):
        bias = None
        if mpnet:
            q, k = places(x.shape[1], x.shape[1])
            bias = w["encoder.relative_attention_bias.weight"][bucket(k - q, 32, 128, True)].permute(2, 0, 1)
        for i in range(2):
            p = f"encoder.layer.{i}."
            q, k, v = (heads(w.lin(p + "attention." + names[a], x), 2) for a in "qkv")
            y = attend(q, k, v, seen=seen(attention_mask), bias=bias).flatten(-2)
            x = w.ln(p + "attention." + names["n"], w.lin(p + "attention." + names["o"], y) + x, 1e-12)
            y = w.lin(p + "output.dense", F.gelu(w.lin(p + "intermediate.dense", x)))
            x = w.ln(p + "output.LayerNorm", y + x, 1e-12)
        return x

    return run, w, dict(x=g.randn(2, 5, 6), attention_mask=MASK), dict(x=g.randn(1, 3, 6), attention_mask=MASK[:1, :3])


g.case("bert", *bert(False))
g.case("mpnet", *bert(True))

# ---- modeling_nomic_bert.py: theta 1000

w = Weights()
p = "encoder.layers.0."
w.linear(p + "attn.Wqkv", 24, 8, False)
w.linear(p + "attn.out_proj", 8, 8, False)
for n in ("norm1", "norm2"):
    w.norm(p + n, 8)
for n, r, c in (("fc11", 5, 8), ("fc12", 5, 8), ("fc2", 8, 5)):
    w.linear(p + "mlp." + n, r, c, False)


def nomic(x, attention_mask, w=w, p=p):
    f = torch.arange(x.shape[1])[:, None].float() * inv(1000.0, 4)
    q, k, v = (heads(t, 2) for t in w.lin(p + "attn.Wqkv", x).chunk(3, -1))
    y = attend(rotate(q, f), rotate(k, f), v, seen=seen(attention_mask)).flatten(-2)
    x = w.ln(p + "norm1", w.lin(p + "attn.out_proj", y) + x, 1e-12)
    y = w.lin(p + "mlp.fc2", w.lin(p + "mlp.fc11", x) * F.silu(w.lin(p + "mlp.fc12", x)))
    return w.ln(p + "norm2", y + x, 1e-12)


g.case("nomic", nomic, w, dict(x=g.randn(2, 5, 8), attention_mask=MASK))

# ---- dinov2/layers/block.py, vision_transformer.py

w2 = Weights()
p2 = "blocks.0."
for n in ("norm1", "norm2"):
    w2.norm(p2 + n, 6)
w2.linear(p2 + "attn.qkv", 18, 6)
w2.linear(p2 + "attn.proj", 6, 6)
for n in ("ls1", "ls2"):
    w2[p2 + n + ".gamma"] = g.randn(6)
w2.linear(p2 + "mlp.fc1", 7, 6)
w2.linear(p2 + "mlp.fc2", 6, 7)


def dinov2(x, w=w2, p=p2):
    q, k, v = (heads(t, 2) for t in w.lin(p + "attn.qkv", w.ln(p + "norm1", x, 1e-6)).chunk(3, -1))
    x = x + w[p + "ls1.gamma"] * w.lin(p + "attn.proj", attend(q, k, v).flatten(-2))
    y = w.lin(p + "mlp.fc2", F.gelu(w.lin(p + "mlp.fc1", w.ln(p + "norm2", x, 1e-6))))
    return x + w[p + "ls2.gamma"] * y


g.case("dinov2", dinov2, w2, dict(x=g.randn(2, 5, 6)))

# ---- nomic-embed-vision: rotations as given tables, neighbours pair

w3 = Weights()
p3 = "layers.0."
for n in ("norm1", "norm2"):
    w3.norm(p3 + n, 8)
w3.linear(p3 + "attn.Wqkv", 24, 8)
w3.linear(p3 + "attn.out_proj", 8, 8)
w3.linear(p3 + "mlp.fc11", 5, 8)
w3.linear(p3 + "mlp.fc12", 5, 8)
w3.norm(p3 + "mlp.norm", 5)
w3.linear(p3 + "mlp.fc2", 8, 5)
angle = g.randn(9, 2)
w3["table.cos"], w3["table.sin"] = angle.cos(), angle.sin()


def nomic_vision(x, w=w3, p=p3):
    c, s = (t[: x.shape[1]].repeat_interleave(2, -1)[:, None] for t in (angle.cos(), angle.sin()))
    q, k, v = (heads(t, 2) for t in w.lin(p + "attn.Wqkv", w.ln(p + "norm1", x, 1e-6)).chunk(3, -1))
    q, k = (t * c + adjacent(t) * s for t in (q, k))
    x = x + w.lin(p + "attn.out_proj", attend(q, k, v).flatten(-2))
    y = w.ln(p + "norm2", x, 1e-6)
    y = w.ln(p + "mlp.norm", w.lin(p + "mlp.fc11", y) * F.silu(w.lin(p + "mlp.fc12", y)), 1e-5)
    return x + w.lin(p + "mlp.fc2", y)


g.case("nomic_vision", nomic_vision, w3, dict(x=g.randn(2, 5, 8)))

# ---- modeling_siglip.py

w4 = Weights()
p4 = "vision_model.encoder.layers.0."
for n in ("layer_norm1", "layer_norm2"):
    w4.norm(p4 + n, 6)
for n in ("q_proj", "k_proj", "v_proj", "out_proj"):
    w4.linear(p4 + "self_attn." + n, 6, 6)
w4.linear(p4 + "mlp.fc1", 7, 6)
w4.linear(p4 + "mlp.fc2", 6, 7)


def siglip(x, w=w4, p=p4):
    y = w.ln(p + "layer_norm1", x, 1e-6)
    q, k, v = (heads(w.lin(p + "self_attn." + n + "_proj", y), 2) for n in "qkv")
    x = x + w.lin(p + "self_attn.out_proj", attend(q, k, v).flatten(-2))
    y = F.gelu(w.lin(p + "mlp.fc1", w.ln(p + "layer_norm2", x, 1e-6)), approximate="tanh")
    return x + w.lin(p + "mlp.fc2", y)


g.case("siglip", siglip, w4, dict(x=g.randn(2, 5, 6)))


# ---- decoders: modeling_llama.py, _qwen2.py, _qwen3.py, _gemma.py, _gemma2.py, _gemma3.py. Runs go on where the last
# ended: their inputs are the tokens that follow.

def decoder(layers, hidden, n, kv, d, qkv_bias=False, norm=False, plus=0.0, sandwich=False, gelu=False, scale=None,
            cap=None, window=None, full_every=0, theta=10000.0, local_theta=None, export=False, eps=1e-5):
    w = Weights()
    for i in range(layers):
        p = f"model.layers.{i}."
        for part, rows in (("q", n * d), ("k", kv * d), ("v", kv * d)):
            w.linear(p + f"self_attn.{part}_proj", rows, hidden, qkv_bias)
        w.linear(p + "self_attn.o_proj", hidden, n * d, False)
        for name in ("q_norm", "k_norm") if norm else ():
            w.norm(p + "self_attn." + name, d, False, 1 - plus)
        for name in ("input_layernorm", "post_attention_layernorm") + (
                ("pre_feedforward_layernorm", "post_feedforward_layernorm") if sandwich else ()):
            w.norm(p + name, hidden, False, 1 - plus)
        for part, r, c in (("gate", 7, hidden), ("up", 7, hidden), ("down", hidden, 7)):
            w.linear(p + f"mlp.{part}_proj", r, c, False)
    past = []

    def run(x):
        fresh = x.shape[0]
        past.append(x)
        x = torch.cat(past)
        out = {}
        i_, j_ = places(x.shape[0], x.shape[0])
        for i in range(layers):
            p = f"model.layers.{i}."
            slides = window and not (full_every and (i + 1) % full_every == 0)
            y = w.rms(p + "input_layernorm", x, eps, plus)
            q, k, v = (heads(w.lin(p + f"self_attn.{part}_proj", y), m) for part, m in (("q", n), ("k", kv), ("v", kv)))
            if norm:
                q, k = (w.rms(p + f"self_attn.{a}_norm", t, eps, plus) for a, t in (("q", q), ("k", k)))
            f = torch.arange(x.shape[0])[:, None].float() * inv(local_theta if slides and local_theta else theta, d)
            q, k = rotate(q, f), rotate(k, f)
            if export:
                out[f"k_{i}"], out[f"v_{i}"] = k[-fresh:].flatten(-2), v[-fresh:].flatten(-2)
            see = (j_ <= i_) & (j_ > i_ - window) if slides else j_ <= i_
            y = w.lin(p + "self_attn.o_proj", attend(q, k, v, seen=see, scale=scale, cap=cap).flatten(-2))
            if sandwich:
                y = w.rms(p + "post_attention_layernorm", y, eps, plus)
            x = x + y
            y = w.rms(p + ("pre_feedforward_layernorm" if sandwich else "post_attention_layernorm"), x, eps, plus)
            gate = w.lin(p + "mlp.gate_proj", y)
            gate = F.gelu(gate, approximate="tanh") if gelu else F.silu(gate)
            y = w.lin(p + "mlp.down_proj", gate * w.lin(p + "mlp.up_proj", y))
            if sandwich:
                y = w.rms(p + "post_feedforward_layernorm", y, eps, plus)
            x = x + y
        out["y"] = x[-fresh:]
        return out

    return run, w, dict(x=g.randn(5, hidden)), dict(x=g.randn(1, hidden)), dict(x=g.randn(3, hidden))


g.case("llama", *decoder(2, 8, 2, 1, 4, export=True))
g.case("qwen2", *decoder(1, 8, 2, 1, 4, qkv_bias=True))
g.case("qwen3", *decoder(1, 8, 2, 1, 6, norm=True))
g.case("gemma", *decoder(1, 8, 2, 1, 4, plus=1.0, gelu=True))
g.case("gemma2", *decoder(2, 8, 2, 1, 4, plus=1.0, gelu=True, sandwich=True, scale=0.35, cap=2.0, window=3,
                          full_every=2))
g.case("gemma3", *decoder(3, 8, 2, 1, 4, plus=1.0, gelu=True, sandwich=True, norm=True, scale=0.35, window=3,
                          full_every=3, theta=1e6, local_theta=10000.0))


# ---- what single families add to attention: gate (modeling_qwen3_next.py), sinks (modeling_gpt_oss.py), chunks
# (modeling_llama4.py), values that are keys and have norms, keys of an earlier layer, heads that differ by layer
# (modeling_gemma3n.py, modeling_gemma4.py), blocks (LLaDA2)

def single(layer, weights, hidden=8, sizes=(5, 1, 3)):
    w = Weights()
    for name, rows in weights.items():
        if isinstance(rows, int):
            w.linear(name, rows, hidden, False)
        else:
            w[name] = rows
    past = []

    def run(x):
        past.append(x)
        return layer(w, torch.cat(past))[-x.shape[0]:]

    return (run, w) + tuple(dict(x=g.randn(s, hidden)) for s in sizes)


def causal(x):
    i, j = places(x.shape[0], x.shape[0])
    return j <= i


def turn(x, d, freqs=None):
    return rotate(x, torch.arange(x.shape[0])[:, None].float() * (inv(10000.0, d) if freqs is None else freqs))


def gated(w, x):
    q, gate = heads(w.lin("q", x), 2).chunk(2, -1)
    k, v = heads(w.lin("k", x), 1), heads(w.lin("v", x), 1)
    return (attend(turn(q, 4), turn(k, 4), v, seen=causal(x)) * torch.sigmoid(gate)).flatten(-2)


g.case("gated", *single(gated, dict(q=16, k=4, v=4)))


def with_sinks(w, x):
    q, k, v = heads(w.lin("q", x), 4), heads(w.lin("k", x), 2), heads(w.lin("v", x), 2)
    q, k = turn(q, 2, w["freqs"]), turn(k, 2, w["freqs"])
    return attend(q, k, v, seen=causal(x), sinks=w["sinks"]).flatten(-2)


g.case("sinks", *single(with_sinks, dict(q=8, k=4, v=4, sinks=g.randn(4), freqs=torch.tensor([0.7]))))


def chunked(w, x):
    q, k, v = (heads(w.lin(n, x), 2) for n in "qkv")
    i, j = places(x.shape[0], x.shape[0])
    return attend(q, k, v, seen=(j <= i) & (j // 4 == i // 4)).flatten(-2)


g.case("chunked", *single(chunked, dict(q=8, k=8, v=8)))


def blocks(w, x):
    q, k, v = (heads(w.lin(n, x), 2) for n in "qkv")
    i, j = places(x.shape[0], x.shape[0])
    return attend(q, k, v, seen=j // 4 <= i // 4).flatten(-2)


g.case("blocks", *single(blocks, dict(q=8, k=8, v=8), sizes=(8, 4, 8)))


def rms(x):
    return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-5)


def sharing(w, x):
    """Layer 0 has 2 heads of 4 over one whose values are its keys; layer 1 the same shape, of its own; layer 2 reads
    those of layer 0; layer 3 has 1 head of 6."""
    kept = {}
    for i, (n, d) in enumerate(((2, 4), (2, 4), (2, 4), (1, 6))):
        p = f"layers.{i}."
        q = turn(rms(heads(w.lin(p + "q", x), n)) * w[p + "q_norm"], d)
        if i != 2:
            k = heads(w.lin(p + "k", x), 1)
            kept[i] = turn(rms(k) * w[p + "k_norm"], d), rms(k)
        k, v = kept[0 if i == 2 else i]
        x = x + w.lin(p + "o", attend(q, k, v, seen=causal(x), scale=1.0).flatten(-2))
    return x


shapes = {}
for i, (n, d) in enumerate(((2, 4), (2, 4), (2, 4), (1, 6))):
    p = f"layers.{i}."
    shapes[p + "q"] = n * d
    shapes[p + "q_norm"] = 1 + g.randn(d, scale=0.3)
    if i != 2:
        shapes[p + "k"] = d
        shapes[p + "k_norm"] = 1 + g.randn(d, scale=0.3)
    shapes[p + "o.weight"] = g.randn(8, n * d, scale=0.3)
g.case("sharing", *single(sharing, shapes))

g.save()
