#!/usr/bin/env python3
"""Numbers for tests/torch/test_vision.c, by torch 2.4:  python3 tests/torch/vision.py"""
import torch
from torch import nn
from torch.nn import functional as F

from group import Group

g = Group(__file__)

fc = g.draw(nn.Linear(7, 5))
g.case("linear", lambda x: fc(x), {"fc.weight": fc.weight, "fc.bias": fc.bias},
       dict(x=g.randn(3, 7)), dict(x=g.randn(5, 7)))
g.case("linear_batch", lambda x: fc(x), {"fc.weight": fc.weight, "fc.bias": fc.bias},
       dict(x=g.randn(2, 3, 7)), dict(x=g.randn(4, 1, 7)))
g.case("linear_axes", lambda x: fc(x), {"fc.weight": fc.weight, "fc.bias": fc.bias},
       dict(x=g.randn(2, 2, 3, 5, 7)), dict(x=g.randn(1, 2, 3, 13, 7)))
g.case("linear_vector", lambda x: fc(x), {"fc.weight": fc.weight, "fc.bias": fc.bias}, dict(x=g.randn(7)))

up, gate, down = (g.draw(nn.Linear(a, b, bias=False)) for a, b in ((9, 6), (9, 6), (6, 9)))
norm = g.randn(9)
def rms(x, w, eps=1e-5):
    return x * torch.rsqrt((x * x).mean(-1, keepdim=True) + eps) * w
g.case("swiglu_batch", lambda x: x + down(F.silu(gate(rms(x, norm))) * up(rms(x, norm))),
       {"norm.weight": norm, "up.weight": up.weight, "gate.weight": gate.weight, "down.weight": down.weight},
       dict(x=g.randn(2, 3, 9)), dict(x=g.randn(3, 11, 9)))

# ---- activations

x = torch.cat([g.randn(3, 5, scale=3.0), torch.tensor([[0.0, -0.0, 40.0, -40.0, 20.5]]),
               torch.tensor([[1e-4, -1e-4, 88.0, -100.0, 0.5]])])
ACTIVATIONS = dict(
    identity=lambda x: x, relu=F.relu, relu6=F.relu6, relu_squared=lambda x: F.relu(x) ** 2,
    leaky_relu=F.leaky_relu, leaky_relu_2=lambda x: F.leaky_relu(x, 0.2), elu=F.elu,
    elu_half=lambda x: F.elu(x, 0.5), selu=F.selu, gelu=F.gelu,
    gelu_tanh=lambda x: F.gelu(x, approximate="tanh"), quick_gelu=lambda x: x * torch.sigmoid(1.702 * x),
    silu=F.silu, mish=F.mish, sigmoid=torch.sigmoid, log_sigmoid=F.logsigmoid, hard_sigmoid=F.hardsigmoid,
    hard_swish=F.hardswish, tanh=torch.tanh, softplus=F.softplus, softplus_2=lambda x: F.softplus(x, 2.0),
    softsign=F.softsign, clamp=lambda x: torch.clamp(x, -1, 1), clamp_2=lambda x: torch.clamp(x, -2, 0.25),
    softcap=lambda x: 30 * torch.tanh(x / 30), softcap_5=lambda x: 5 * torch.tanh(x / 5))
g.case("activations", lambda x: {k: f(x) for k, f in ACTIVATIONS.items()}, {}, dict(x=x))

g.case("glu", lambda x: F.glu(x), {}, dict(x=g.randn(2, 3, 10)), dict(x=g.randn(1, 7, 10)))
g.case("geglu_halves", lambda x: x[..., :5] * F.gelu(x[..., 5:]), {}, dict(x=g.randn(3, 10)))
alpha = torch.rand(5, generator=g.random) + 0.3
g.case("snake", lambda x: x + torch.sin(alpha[:, None] * x) ** 2 / alpha[:, None], {"alpha": alpha},
       dict(x=g.randn(2, 5, 9)), dict(x=g.randn(3, 5, 4)))

# ---- norms

ln = g.draw(nn.LayerNorm(13))
g.case("layer_norm", ln, ln, dict(x=g.randn(2, 3, 13) + 5), dict(x=g.randn(1, 17, 13, scale=9.0)))
g.case("layer_norm_half", lambda x: F.layer_norm(x, (13,), ln.weight.half().float(), None, 1e-6),
       {"weight": ln.weight.half()}, dict(x=g.randn(4, 13)))
g.case("layer_norm_plain", lambda x: F.layer_norm(x, (33,), None, None, 1e-3), {}, dict(x=g.randn(5, 33)))
g.case("layer_norm_one", lambda x: F.layer_norm(x, (1,), None, None, 1e-5), {}, dict(x=g.randn(3, 1)))
w = g.randn(13)
g.case("gemma_rms_norm", lambda x: rms(x, 1 + w, 1e-6), {"w": w}, dict(x=g.randn(2, 3, 13)), dict(x=g.randn(5, 1, 13)))
g.case("rms_norm_plain", lambda x: rms(x, 1.0, 1e-6), {}, dict(x=g.randn(3, 7)))
gn = g.draw(nn.GroupNorm(3, 6, eps=1e-4))
g.case("group_norm", gn, gn, dict(x=g.randn(2, 6, 5, 3) + 1), dict(x=g.randn(3, 6, 5, 3)))
g.case("instance_norm", lambda x: F.instance_norm(x, eps=1e-5), {}, dict(x=g.randn(2, 4, 7)))
cn = g.draw(nn.LayerNorm(6))
g.case("channel_norm", lambda x: cn(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2), cn,
       dict(x=g.randn(2, 6, 3, 5)), dict(x=g.randn(1, 6, 4, 5)))
bn = g.draw(nn.BatchNorm2d(5))
bn.running_mean.copy_(g.randn(5))
bn.running_var.copy_(torch.rand(5, generator=g.random) + 0.2)
g.case("batch_norm", bn, {k: v for k, v in bn.state_dict().items() if "tracked" not in k},
       dict(x=g.randn(2, 5, 3, 4)), dict(x=g.randn(3, 5, 2, 4)))
g.case("l2_norm", lambda x: F.normalize(x, dim=-1, eps=1e-12), {}, dict(x=g.randn(3, 9)), dict(x=torch.zeros(2, 9)))
g.case("l2_norm_axis", lambda x: F.normalize(x, dim=1, eps=1e-2), {}, dict(x=g.randn(2, 5, 3)))

# ---- stages

def keys(prefix, module):
    return {f"{prefix}.{k}": v for k, v in module.state_dict().items()}

def ffn(x, a, b):
    return b(F.gelu(a(x)))
a, b = g.draw(nn.Linear(6, 11)), g.draw(nn.Linear(11, 6))
g.case("gelu_ffn_bert", lambda x: ffn(x, a, b), keys("l.intermediate.dense", a) | keys("l.output.dense", b),
       dict(x=g.randn(2, 3, 6)), dict(x=g.randn(1, 5, 6)))
g.case("gelu_ffn_dinov2", lambda x: ffn(x, a, b), keys("b.mlp.fc1", a) | keys("b.mlp.fc2", b), dict(x=g.randn(2, 3, 6)))
gamma = g.randn(6)
g.case("layer_scale", lambda x: x * gamma, {"ls1.gamma": gamma}, dict(x=g.randn(2, 3, 6)))
up, gate, down, norm12 = (g.draw(m) for m in (nn.Linear(6, 12), nn.Linear(6, 12), nn.Linear(12, 6), nn.LayerNorm(12, eps=1e-6)))
g.case("vision_swiglu_ffn", lambda x: down(norm12(up(x) * F.silu(gate(x)))),
       keys("l.mlp.fc11", up) | keys("l.mlp.fc12", gate) | keys("l.mlp.fc2", down) | keys("l.mlp.norm", norm12),
       dict(x=g.randn(2, 3, 6)), dict(x=g.randn(3, 1, 6)))
g.case("geglu", lambda x: F.gelu(x @ gate.weight.T, approximate="tanh") * (x @ up.weight.T) @ down.weight.T,
       {"gate": gate.weight, "up": up.weight, "down": down.weight}, dict(x=g.randn(5, 6)))
g.case("cls_token_pool", lambda x: x[:, 0], {}, dict(x=g.randn(2, 3, 6)), dict(x=g.randn(3, 1, 6)))
def pooled(x, mask):
    m = (mask != 0).float()[:, :, None]
    return (x * m).sum(1) / m.sum(1).clamp(min=1)
g.case("mean_pool", pooled, {}, dict(x=g.randn(2, 4, 6), mask=torch.tensor([[1, 1, 0, 0], [0, 0, 0, 0]], dtype=torch.int32)),
       dict(x=g.randn(1, 7, 6), mask=torch.tensor([[1, 0, 1, 1, 0, 1, 1]], dtype=torch.int32)))
g.case("mean_pool_all", lambda x: x.mean(1), {}, dict(x=g.randn(2, 4, 6)), dict(x=g.randn(3, 5, 6)))
words, places, kinds = g.randn(9, 6), g.randn(7, 6).half().float(), g.randn(2, 6)
bert = g.draw(nn.LayerNorm(6, eps=1e-12))
g.case("bert_embeddings", lambda ids, positions, types: bert(words[ids.long()] + places[positions.long()] + kinds[types.long()]) * 6 ** 0.5,
       {"word": words, "position": places.half(), "type": kinds} | keys("norm", bert),
       *(dict(ids=g.randint(9, B, S), positions=torch.arange(S, dtype=torch.int32), types=g.randint(2, B, S))
         for B, S in ((2, 5), (3, 1))))

g.save()
