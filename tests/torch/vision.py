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

g.save()
