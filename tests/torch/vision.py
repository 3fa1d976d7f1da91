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

g.save()
