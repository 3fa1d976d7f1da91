#!/usr/bin/env python3
"""Numbers for tests/torch/test_attention.c, by torch 2.4:  python3 tests/torch/attention.py

Modules of models are written as transformers has them (5.23, eager attention), file and class named."""
import math

import torch
from torch.nn import functional as F

from group import Group

g = Group(__file__)
NEG = torch.finfo(torch.float32).min


def attend(q, k, v, seen=None, bias=None, scale=None, cap=None, sinks=None, extra=None):
    """q [B,S,N,D], k [B,K,G,D], v [B,K,G,E] as eager attention: seen, bias broadcast to [B,N,S,K]; extra is added to
    q.k before the scale."""
    q, k, v = (x.transpose(-3, -2) for x in (q, k, v))
    r = q.shape[-3] // k.shape[-3]
    k, v = k.repeat_interleave(r, -3), v.repeat_interleave(r, -3)
    s = q @ k.transpose(-1, -2)
    if extra is not None:
        s = s + extra(q)
    s = s * (scale or q.shape[-1] ** -0.5)
    if cap:
        s = cap * torch.tanh(s / cap)
    if bias is not None:
        s = s + bias
    if seen is not None:
        s = torch.where(seen, s, torch.tensor(NEG))
    if sinks is not None:
        s = torch.cat([s, sinks.view(-1, 1, 1).expand(*s.shape[:-1], 1)], -1)
    p = torch.softmax(s, -1)[..., : k.shape[-2]]
    return (p @ v).transpose(-3, -2).contiguous()


def places(s, k, at=0):
    return torch.arange(s)[:, None] + at, torch.arange(k)[None, :]


def qkv(b, s, k, n=6, gk=2, d=5, e=3):
    return dict(q=g.randn(b, s, n, d), k=g.randn(b, k, gk, d), v=g.randn(b, k, gk, e))


def sdpa(q, k, v, **o):
    r = q.shape[-2] // k.shape[-2]
    k, v = k.repeat_interleave(r, -2), v.repeat_interleave(r, -2)
    return F.scaled_dot_product_attention(*(x.transpose(-3, -2) for x in (q, k, v)), **o).transpose(-3, -2)


def masked(rule):
    def run(q, k, v, **more):
        p, j = places(q.shape[1], k.shape[1], more.pop("at", 0))
        return attend(q, k, v, seen=rule(p, j))
    return run


g.case("plain", sdpa, {}, qkv(2, 4, 7), qkv(1, 9, 2))
g.case("causal", lambda q, k, v: sdpa(q, k, v, is_causal=True), {}, qkv(2, 5, 5), qkv(3, 9, 9))
g.case("cached", lambda q, k, v: attend(q, k, v, seen=places(q.shape[1], k.shape[1], k.shape[1] - q.shape[1])[0] >=
                                        places(q.shape[1], k.shape[1])[1]), {}, qkv(2, 2, 9), qkv(1, 1, 4))
g.case("window", masked(lambda p, j: (j <= p) & (j > p - 3)), {}, qkv(2, 7, 7))
g.case("local", masked(lambda p, j: (p - j).abs() <= 2), {}, qkv(2, 7, 7))
g.case("chunk", masked(lambda p, j: (j <= p) & (j // 3 == p // 3)), {}, qkv(2, 8, 8))
g.case("block", masked(lambda p, j: j // 4 <= p // 4), {}, qkv(1, 10, 10))


def padded(q, k, v, attention_mask):
    p, j = places(q.shape[1], k.shape[1])
    return attend(q, k, v, seen=(j <= p) & attention_mask.bool()[:, None, None, :], cap=2.0)


g.case("padded", padded, {}, dict(**qkv(2, 5, 5), attention_mask=torch.tensor([[1, 1, 1, 0, 0], [0, 1, 1, 0, 1]],
                                                                               dtype=torch.int32)))
sinks = g.randn(6)
g.case("biased", lambda q, k, v, bias, lengths: attend(
    q, k, v, seen=torch.arange(k.shape[1]) < lengths[:, None, None, None], bias=bias, sinks=sinks, scale=0.7),
    dict(sinks=sinks), dict(**qkv(2, 3, 5), bias=g.randn(2, 6, 3, 5), lengths=torch.tensor([5, 2], dtype=torch.int32)))

# modeling_wav2vec2_bert.py, Wav2Vec2BertSelfAttention with position_embeddings_type relative_key
distance = g.randn(5 + 2, 5)


def relative(q, k, v):
    l, r = places(q.shape[1], k.shape[1])
    e = distance[(r - l).clamp(-4, 2) + 4]
    return attend(q, k, v, extra=lambda x: torch.einsum("bhld,lrd->bhlr", x, e))


g.case("relative", relative, dict(distance=distance), qkv(2, 8, 8), qkv(1, 3, 3))


# modeling_mpnet.py, MPNetEncoder.relative_position_bucket; modeling_t5.py, T5Attention._relative_position_bucket
def bucket(rel, n, far, bidirectional):
    out = 0
    if bidirectional:
        n //= 2
        out = (rel > 0).long() * n
        rel = rel.abs()
    else:
        rel = -torch.min(rel, torch.zeros_like(rel))
    exact = n // 2
    large = exact + (torch.log(rel.float() / exact) / math.log(far / exact) * (n - exact)).long()
    return out + torch.where(rel < exact, rel, torch.min(large, torch.full_like(large, n - 1)))


def buckets(table, far, bidirectional):
    def run(x):
        q, k = places(x.shape[0], x.shape[0])
        return table[bucket(k - q, table.shape[0], far, bidirectional)].permute(2, 0, 1) + x
    return run


table = g.randn(32, 1)
g.case("bucket_bias", buckets(table, 128, True), dict(table=table), dict(x=g.randn(97)))
table = g.randn(16, 2)
g.case("bucket_bias_one_sided", buckets(table, 20, False), dict(table=table), dict(x=g.randn(24)))


# modeling_bloom.py, build_alibi_tensor: slopes; the distance as Press et al. have it
def alibi(x):
    n = 6
    p2 = 2 ** math.floor(math.log2(n))
    base = 2 ** (-(2 ** -(math.log2(p2) - 3)))
    slopes = torch.tensor(base) ** torch.arange(1, 1 + p2)
    extra = 2 ** (-(2 ** -(math.log2(2 * p2) - 3)))
    slopes = torch.cat([slopes, torch.tensor(extra) ** torch.arange(1, 1 + 2 * (n - p2), 2)])
    q, k = places(x.shape[0], x.shape[0])
    return -slopes[:, None, None] * (q - k).abs() + x


g.case("alibi", alibi, {}, dict(x=g.randn(7)))


# modeling_sam.py, SamVisionAttention.get_rel_pos and get_decomposed_rel_pos, window_partition, window_unpartition
def rel_pos(size, table):
    most = 2 * size - 1
    t = F.interpolate(table.reshape(1, table.shape[0], -1).permute(0, 2, 1), size=most, mode="linear")
    t = t.reshape(-1, most).permute(1, 0)
    return t[(torch.arange(size)[:, None] - torch.arange(size)[None, :]) + size - 1]


rel_h, rel_w = g.randn(5, 4), g.randn(5, 4)
H, W = 3, 4  # 5 rows are those of 3; of 4 there are 7


def grid_bias(q):
    b, s, n, d = q.shape
    r = q.transpose(1, 2).reshape(b, n, H, W, d)
    h = torch.einsum("bnhwc,hkc->bnhwk", r, rel_pos(H, rel_h))
    w = torch.einsum("bnhwc,wkc->bnhwk", r, rel_pos(W, rel_w))
    return (h[..., None] + w[..., None, :]).reshape(b, n, s, s)


g.case("grid_bias", grid_bias, dict(rel_h=rel_h, rel_w=rel_w), dict(q=g.randn(2, H * W, 2, 4)),
       dict(q=g.randn(1, H * W, 2, 4)))


def partition(x, size=3):
    b, h, w, c = x.shape
    ph, pw = -h % size, -w % size
    x = F.pad(x, (0, 0, 0, pw, 0, ph))
    hp, wp = h + ph, w + pw
    x = x.reshape(b, hp // size, size, wp // size, size, c)
    return x.permute(0, 1, 3, 2, 4, 5).reshape(-1, size, size, c)


def windowed(x):
    y = partition(x)
    b, h, w, c = x.shape
    z = y * torch.arange(1, 4)[:, None, None]
    hp, wp = h + -h % 3, w + -w % 3
    z = z.reshape(b, hp // 3, wp // 3, 3, 3, c).permute(0, 1, 3, 2, 4, 5).reshape(b, hp, wp, c)[:, :h, :w]
    return dict(windows=y, joined=z)


g.case("windows", windowed, {}, dict(x=g.randn(2, 4, 7, 2)), dict(x=g.randn(1, 4, 7, 2)))


# ---- rotations

def half(x):
    a, b = x.chunk(2, -1)
    return torch.cat([-b, a], -1)


def adjacent(x):
    return torch.stack([-x[..., 1::2], x[..., ::2]], -1).flatten(-2)


def inv(theta, dim):
    return 1.0 / (theta ** (torch.arange(0, dim, 2).float() / dim))


def rope_half(x, position_ids):  # modeling_llama.py; 2 heads of 10, of which 6 elements turn
    f = position_ids[..., None].float() * inv(10000.0, 6)
    c, s = (torch.cat([t, t], -1)[..., None, :] for t in (f.cos(), f.sin()))
    y = x.unflatten(-1, (2, 10))
    t = y[..., :6] * c + half(y[..., :6]) * s
    return torch.cat([t, y[..., 6:]], -1).flatten(-2)


g.case("rope_half", rope_half, {}, dict(x=g.randn(2, 5, 20), position_ids=g.randint(900, 2, 5)),
       dict(x=g.randn(1, 3, 20), position_ids=g.randint(900, 1, 3)))


# modeling_qwen2_vl.py, apply_multimodal_rotary_pos_emb, sections [1, 2, 3]
def mrope(x, position_ids):
    f = position_ids[..., None].float() * inv(1e6, 12)  # [3,B,S,6]
    c, s = (torch.cat([t, t], -1) for t in (f.cos(), f.sin()))
    c, s = (torch.cat([m[i % 3] for i, m in enumerate(t.split([1, 2, 3] * 2, -1))], -1) for t in (c, s))
    y = x.unflatten(-1, (2, 12))
    return (y * c[..., None, :] + half(y) * s[..., None, :]).flatten(-2)


g.case("mrope", mrope, {}, dict(x=g.randn(2, 4, 24), position_ids=g.randint(70, 3, 2, 4)))


# modeling_qwen3_vl.py, apply_interleaved_mrope, mrope_section [3, 2, 1]
def mrope_turns(x, position_ids):
    f = position_ids[..., None].float() * inv(1e6, 12)
    t = f[0].clone()
    for dim, offset in ((1, 1), (2, 2)):
        idx = slice(offset, [3, 2, 1][dim] * 3, 3)
        t[..., idx] = f[dim][..., idx]
    c, s = (torch.cat([u, u], -1)[..., None, :] for u in (t.cos(), t.sin()))
    y = x.unflatten(-1, (2, 12))
    return (y * c + half(y) * s).flatten(-2)


g.case("mrope_turns", mrope_turns, {}, dict(x=g.randn(2, 4, 24), position_ids=g.randint(70, 3, 2, 4)))


# modeling_sam2_video.py, Sam2VideoVisionRotaryEmbedding and apply_rotary_pos_emb_2d: 3 x 2 places twice, 2 tokens do
# not turn; one head of 8
def axial(x):
    f = 1.0 / (10000.0 ** (torch.arange(0, 8, 4)[:2].float() / 8))
    at = torch.arange(6)
    e = torch.cat([torch.outer(at % 2, f), torch.outer(at // 2, f)], -1).repeat_interleave(2, -1).repeat(2, 1)
    y = x[:, :12]
    y = y * e.cos() + adjacent(y) * e.sin()
    return torch.cat([y, x[:, 12:]], 1)


g.case("rope_axial", axial, {}, dict(x=g.randn(2, 14, 8)))


# diffusers, FluxPosEmbed and apply_rotary_emb (use_real, unbind -1): axes of 4, 4, 2, 2 elements
def flux(x, ids):
    f = torch.cat([ids[:, a, None].float() * inv(2000.0, d) for a, d in enumerate((4, 4, 2, 2))], -1)
    c, s = (t.repeat_interleave(2, -1)[:, None] for t in (f.cos(), f.sin()))
    y = x.unflatten(-1, (2, 12))
    return (y * c + adjacent(y) * s).flatten(-2)


g.case("rope_flux", flux, {}, dict(x=g.randn(2, 5, 24), ids=g.randint(30, 5, 4)))


# modeling_vjepa2.py, rotate_queries_or_keys: sine and cosine are tiled, pairs are neighbours; 14 elements: 3 axes of 4
def vjepa(x, ids):
    def rotate(y, pos):
        f = pos[..., None].float() * (1.0 / 10000 ** (torch.arange(2).float() / 2.0))
        return y * f.cos().repeat(1, 2)[:, None] + adjacent(y) * f.sin().repeat(1, 2)[:, None]
    y = x.unflatten(-1, (2, 14))
    parts = [rotate(y[..., 4 * a: 4 * a + 4], ids[:, a]) for a in range(3)]
    return torch.cat(parts + [y[..., 12:]], -1).flatten(-2)


g.case("rope_vjepa", vjepa, {}, dict(x=g.randn(2, 5, 28), ids=g.randint(16, 5, 3)))

if __name__ == "__main__":
    g.save()
