#!/usr/bin/env python3
"""Numbers for tests/torch/test_routing.c, by torch 2.4:  python3 tests/torch/routing.py"""
import torch
from torch.nn import functional as F

from group import Group

torch.utils.deterministic.fill_uninitialized_memory = False  # 8-bit floats cannot be filled
g = Group(__file__)


def i32(x):
    return x.to(torch.int32)


# ---- orders: few different numbers, so that some are equal; torch's stable sort keeps their order
def ties(*shape):
    return g.randint(5, *shape).float() - 2


def first(x, k, dim, descending=True):
    values, at = torch.sort(x, dim=dim, descending=descending, stable=True)
    return dict(y=values.narrow(dim, 0, k).contiguous(), at=i32(at.narrow(dim, 0, k)))


g.case("top_k", lambda x: first(x, 3, -1), {}, dict(x=ties(4, 9)), dict(x=ties(1, 9)))
g.case("top_k_axis", lambda x: first(x, 2, 1, False), {}, dict(x=ties(2, 7, 3)), dict(x=ties(5, 7, 3)))
g.case("sort", lambda x: first(x, x.shape[1], 1, False), {}, dict(x=ties(2, 6)), dict(x=ties(2, 13)))
g.case("argmax", lambda x: i32(x.argmax(-1)), {}, dict(x=g.randn(3, 17)), dict(x=g.randn(7, 17)))
g.case("argmin", lambda x: i32(x.argmin(0)), {}, dict(x=g.randn(3, 5)), dict(x=g.randn(8, 5)))
g.case("one_hot", lambda ids: i32(F.one_hot(ids.long(), 6)), {}, dict(ids=g.randint(6, 4)), dict(ids=g.randint(6, 9)))
g.case("cumsum", lambda x: x.cumsum(0), {}, dict(x=g.randn(4, 3)), dict(x=g.randn(9, 3)))
g.case("take_along", lambda x, ids: x.gather(1, ids.long()), {}, dict(x=g.randn(3, 7), ids=g.randint(7, 3, 4)),
       dict(x=g.randn(6, 7), ids=g.randint(7, 6, 4)))


# ---- routers, as the files modeling_mixtral.py, modeling_qwen3_moe.py and modeling_deepseek_v3.py of
# transformers compute them
def softmax_route(x, k, normalize):
    w, at = torch.topk(F.softmax(x, -1), k, -1)
    return dict(y=w / w.sum(-1, keepdim=True) if normalize else w, at=i32(at))


def sigmoid_route(x, bias, k, groups, chosen, scale):
    scores = x.sigmoid()
    choice = scores + bias
    marks = choice.view(-1, groups, x.shape[-1] // groups).topk(2, dim=-1)[0].sum(-1)
    kept = torch.zeros_like(marks).scatter_(1, marks.topk(chosen, dim=-1)[1], 1)
    kept = kept.unsqueeze(-1).expand(-1, groups, x.shape[-1] // groups).reshape(-1, x.shape[-1])
    at = choice.masked_fill(kept == 0, float("-inf")).topk(k, dim=-1)[1]
    w = scores.gather(1, at)
    return dict(y=w / (w.sum(-1, keepdim=True) + 1e-20) * scale, at=i32(at))


g.case("route_softmax", lambda x: softmax_route(x, 2, False), {}, dict(x=g.randn(3, 8)), dict(x=g.randn(1, 8)))
g.case("route_normalize", lambda x: softmax_route(x, 3, True), {}, dict(x=g.randn(3, 8)), dict(x=g.randn(5, 8)))
bias = g.randn(12, scale=0.3)
g.case("route_groups", lambda x: sigmoid_route(x, bias, 3, 4, 2, 2.5), {"bias": bias}, dict(x=g.randn(5, 12)),
       dict(x=g.randn(2, 12)))

router, gate, up = g.randn(6, 10), g.randn(6, 7, 10, scale=0.5), g.randn(6, 7, 10, scale=0.5)
down = g.randn(6, 10, 7, scale=0.5)


def moe(x):
    r = softmax_route(x @ router.T, 2, True)
    y = torch.zeros_like(x)
    for t in range(x.shape[0]):
        for w, e in zip(r["y"][t], r["at"][t]):
            y[t] += w * (down[e] @ (F.silu(gate[e] @ x[t]) * (up[e] @ x[t])))
    return y


g.case("moe", moe, {"router": router, "gate": gate, "up": up, "down": down}, dict(x=g.randn(3, 10)),
       dict(x=g.randn(7, 10)))
g.case("experts_bf16", lambda x, ids: torch.einsum("tk,tnk->tn", x, gate.bfloat16().float()[ids.long()]),
       {"w": gate.bfloat16()}, dict(x=g.randn(4, 10), ids=g.randint(6, 4)), dict(x=g.randn(1, 10), ids=g.randint(6, 1)))
w, a, b = g.randn(9, 13), g.randn(2, 13), g.randn(9, 2)
g.case("lora", lambda x: x @ w.T + 0.5 * (x @ a.T) @ b.T, {"w": w, "a": a, "b": b}, dict(x=g.randn(3, 13)),
       dict(x=g.randn(2, 13)))

# ---- few bits
scale, zero = g.randn(5).abs() + 0.05, g.randint(20, 5) - 10
g.case("quantize", lambda x: torch.quantize_per_channel(x, scale, zero, 1, torch.qint8).int_repr(),
       {"scale": scale, "zero": zero.float()}, dict(x=g.randn(4, 5, scale=20)), dict(x=g.randn(11, 5, scale=20)))
g.case("fake_quantize", lambda x: torch.fake_quantize_per_tensor_affine(x, 0.25, 3, 0, 255), {},
       dict(x=g.randn(4, 5, scale=40)), dict(x=g.randn(1, 5, scale=40)))


def int4_blocks(x):
    blocks = x.view(x.shape[0], -1, 4)
    s = blocks.abs().amax(-1, keepdim=True) / 7
    q = torch.clamp(torch.round(blocks / s), -8, 7)
    return dict(y=(q * s).view_as(x), codes=q.to(torch.int8).view_as(x))


g.case("int4_blocks", int4_blocks, {}, dict(x=g.randn(3, 12)), dict(x=g.randn(5, 12)))
for name, dtype in (("e4m3", torch.float8_e4m3fn), ("e5m2", torch.float8_e5m2)):
    special = torch.tensor([0.0, -0.0, 1e-8, 448, 464, 480, -449, 57344, 61439, 61441, 2.0 ** -9, 2.0 ** -10, 3 * 2.0 ** -11,
                            2.0 ** -16, 2.0 ** -17, 3 * 2.0 ** -18, 0.0175, float("inf")])
    numbers = torch.cat([special, g.randn(40) * torch.exp(g.randn(40, scale=4))])
    finite = numbers[numbers.to(dtype).float().isfinite()]
    g.case(f"f8_{name}", lambda x: dict(y=x.to(dtype).float(), codes=x.to(dtype).view(torch.uint8)), {}, dict(x=finite))

# ---- transforms
def parts(z):
    return dict(y=z.real.contiguous(), yim=z.imag.contiguous())


g.case("fft", lambda x, im: parts(torch.fft.fft(torch.complex(x, im))), {}, dict(x=g.randn(2, 15), im=g.randn(2, 15)),
       dict(x=g.randn(1, 15), im=g.randn(1, 15)))
g.case("ifft", lambda x, im: parts(torch.fft.ifft(torch.complex(x, im))), {}, dict(x=g.randn(2, 12), im=g.randn(2, 12)))
g.case("rfft", lambda x: parts(torch.fft.rfft(x)), {}, dict(x=g.randn(3, 16)), dict(x=g.randn(1, 16)))
g.case("irfft_odd", lambda x, im: torch.fft.irfft(torch.complex(x, im), n=9), {}, dict(x=g.randn(2, 5), im=g.randn(2, 5)))
g.case("irfft_even", lambda x, im: torch.fft.irfft(torch.complex(x, im), n=8), {}, dict(x=g.randn(2, 5), im=g.randn(2, 5)))
hann = torch.hann_window(12)
g.case("stft", lambda x: parts(torch.stft(x, 16, 5, 12, hann, center=True, return_complex=True)), {"window": hann},
       dict(x=g.randn(2, 40)), dict(x=g.randn(2, 67)))
g.case("stft_from_start", lambda x: parts(torch.stft(x, 8, 3, None, torch.ones(8), center=False, return_complex=True)),
       {}, dict(x=g.randn(1, 30)))
long_hann = torch.hann_window(16)


def there_and_back(x):
    z = torch.stft(x, 16, 4, 16, long_hann, center=True, return_complex=True)
    z = z * torch.linspace(0, 1, 9).view(1, 9, 1)
    return torch.istft(z, 16, 4, 16, long_hann, center=True, length=x.shape[1])


g.case("istft", there_and_back, {"window": long_hann, "filter": torch.linspace(0, 1, 9)}, dict(x=g.randn(2, 40)),
       dict(x=g.randn(2, 24)))
g.case("istft_uneven", lambda x, im: torch.istft(torch.complex(x, im), 16, 5, 16, long_hann, center=True), {"window": long_hann},
       dict(x=g.randn(1, 9, 6), im=torch.cat([torch.zeros(1, 1, 6), g.randn(1, 7, 6), torch.zeros(1, 1, 6)], 1)))

g.save()
