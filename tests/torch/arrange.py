#!/usr/bin/env python3
"""Numbers for tests/torch/test_arrange.c, by torch 2.4:  python3 tests/torch/arrange.py"""
import torch
from torch.nn import functional as F

from group import Group

g = Group(__file__)

# ---- elements in other places: extents that are constants, and a symbol's
for name, mode in (("reflect", "reflect"), ("edge", "replicate"), ("wrap", "circular")):
    g.case("pad_" + name, lambda x, mode=mode: F.pad(x, (4, 2), mode), {}, dict(x=g.randn(2, 3, 5)), dict(x=g.randn(1, 3, 5)))
    g.case(f"pad_{name}_symbol", lambda x, mode=mode: F.pad(x, (1, 2), mode), {}, dict(x=g.randn(2, 3, 4)), dict(x=g.randn(2, 3, 9)))
g.case("roll", lambda x: torch.roll(x, (3,), (1,)), {}, dict(x=g.randn(2, 5, 3)))
g.case("roll_symbol", lambda x: torch.roll(x, (-2,), (1,)), {}, dict(x=g.randn(2, 5, 3)), dict(x=g.randn(2, 1, 3)), dict(x=g.randn(1, 8, 3)))
g.case("tile", lambda x: x.tile(1, 3, 1), {}, dict(x=g.randn(2, 4, 3)))
g.case("repeat_each", lambda x: x.repeat_interleave(3, 1), {}, dict(x=g.randn(2, 4, 3)), dict(x=g.randn(1, 7, 3)))

# ---- folds of folds
g.case("variance", lambda x: x.var((1, 2), correction=0, keepdim=True), {}, dict(x=g.randn(3, 4, 5) * 3 + 7))
def infinite(x):
    x[0, 0] = -torch.inf
    x[1, 1, 2] = torch.inf
    return x
g.case("log_sum_exp", lambda x: x.logsumexp((2,), keepdim=True), {}, dict(x=infinite(g.randn(3, 4, 5) * 60)))

def nans(x):
    x = infinite(x)
    x[0, 1, 0] = x[1, 1, 4] = x[2, 0, 1] = torch.nan # beside numbers, beside infinity
    x[2, 1] = torch.nan
    x[2, 2] = -torch.inf
    x[2, 2, 3] = torch.nan
    return x
g.case("log_sum_exp_nan", lambda x: x.logsumexp((2,), keepdim=True), {}, dict(x=nans(g.randn(3, 4, 5) * 60)))
g.case("roll_far", lambda x: torch.roll(x, ((2**53 + 1) % 5,), (1,)), {}, dict(x=g.randn(2, 5, 3)))

g.save()
