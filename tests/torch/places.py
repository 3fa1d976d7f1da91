#!/usr/bin/env python3
"""Numbers for tests/torch/test_places.c, by torch 2.4:  python3 tests/torch/places.py"""
import torch
from torch import nn
from torch.nn import functional as F

from group import Group

g = Group(__file__)

# ---- convolutions: odd sizes, batch > 1, groups, dilation, asymmetric pads

def conv(name, cls, args, kwargs, lows, highs, *shapes):
    """A torch convolution of x padded by hand."""
    m = g.draw(cls(*args, **kwargs), scale=0.4)
    pads = [p for i in reversed(range(len(lows))) for p in (lows[i], highs[i])]
    g.case(name, lambda x: m(F.pad(x, pads)), m, *(dict(x=g.randn(*s)) for s in shapes))

conv("conv1d", nn.Conv1d, (3, 4, 5), dict(stride=2), (2,), (1,), (2, 3, 13), (1, 3, 13))
conv("conv1d_symbol", nn.Conv1d, (3, 9, 3), dict(), (1,), (1,), (2, 3, 13), (3, 3, 4))
conv("conv2d", nn.Conv2d, (5, 11, 3), dict(stride=(2, 1), dilation=(1, 2)), (1, 0), (0, 2), (2, 5, 7, 9), (1, 5, 7, 9))
conv("conv2d_few", nn.Conv2d, (5, 3, (3, 2)), dict(bias=False), (1, 0), (1, 0), (2, 5, 6, 7))
conv("conv2d_symbols", nn.Conv2d, (3, 8, 3), dict(), (1, 1), (1, 1), (2, 3, 5, 6), (1, 3, 4, 9))
conv("conv2d_1x1", nn.Conv2d, (7, 9, 1), dict(), (0, 0), (0, 0), (2, 7, 3, 5))
conv("conv2d_groups", nn.Conv2d, (6, 16, 3), dict(groups=2), (1, 1), (1, 1), (2, 6, 4, 5))
conv("conv2d_depthwise", nn.Conv2d, (5, 10, 3), dict(groups=5, stride=2), (1, 1), (1, 1), (2, 5, 7, 6))
conv("conv3d", nn.Conv3d, (2, 8, (2, 3, 3)), dict(stride=(1, 2, 2)), (1, 1, 0), (0, 1, 1), (2, 2, 4, 5, 6))
conv("conv3d_few", nn.Conv3d, (4, 2, (2, 1, 3)), dict(groups=2), (0, 0, 1), (0, 0, 1), (1, 4, 3, 2, 5))

m = g.draw(nn.Conv2d(3, 8, 2).half().float())
m.weight.copy_(m.weight.half().float())
g.case("conv2d_half", m, {"weight": m.weight.half(), "bias": m.bias}, dict(x=g.randn(1, 3, 4, 5)))

def conv_t(name, cls, args, kwargs, *shapes):
    m = g.draw(cls(*args, **kwargs), scale=0.4)
    g.case(name, m, m, *(dict(x=g.randn(*s)) for s in shapes))

conv_t("conv_transpose1d", nn.ConvTranspose1d, (3, 2, 5), dict(stride=3, padding=1, output_padding=2), (2, 3, 6), (1, 3, 6))
conv_t("conv_transpose2d", nn.ConvTranspose2d, (4, 9, (3, 2)), dict(stride=(2, 1), dilation=(1, 2), padding=(1, 0), output_padding=(1, 0)), (2, 4, 4, 5))
conv_t("conv_transpose2d_groups", nn.ConvTranspose2d, (4, 6, 3), dict(groups=2, stride=2, bias=False), (2, 4, 3, 2))

m = g.draw(nn.Conv2d(3, 10, (2, 3), stride=(2, 3)))
g.case("patch_embed", lambda x: m(x).flatten(2).transpose(1, 2), {"proj.weight": m.weight, "proj.bias": m.bias},
       dict(x=g.randn(2, 3, 6, 9)), dict(x=g.randn(1, 3, 6, 9)))

# ---- pools

def pool(name, f, *shapes):
    g.case(name, f, {}, *(dict(x=g.randn(*s)) for s in shapes))

pool("max_pool1d", lambda x: F.max_pool1d(x, 3, 2, 1), (2, 3, 10))
pool("max_pool2d", lambda x: F.max_pool2d(x, (3, 2), (2, 1), (1, 0), (1, 2)), (2, 3, 7, 6), (1, 3, 7, 6))
pool("max_pool2d_ceil", lambda x: F.max_pool2d(x, 3, 2, ceil_mode=True), (2, 3, 8, 7))
pool("max_pool2d_asymmetric", lambda x: F.max_pool2d(F.pad(x, (0, 1, 0, 1), value=float("-inf")), 2, 2), (2, 2, 5, 7))
pool("max_pool2d_symbols", lambda x: F.max_pool2d(x, 3, 2, 1), (2, 3, 7, 6), (1, 3, 4, 9))
pool("mean_pool2d", lambda x: F.avg_pool2d(x, (3, 2), (2, 1), (1, 1)), (2, 3, 7, 6))
pool("mean_pool2d_inside", lambda x: F.avg_pool2d(x, 3, 2, 1, count_include_pad=False), (2, 3, 7, 6))
pool("mean_pool2d_ceil", lambda x: F.avg_pool2d(x, 3, 2, 0, ceil_mode=True, count_include_pad=False), (2, 2, 8, 6))
pool("mean_pool3d", lambda x: F.avg_pool3d(x, (1, 2, 2)), (2, 3, 2, 4, 6))
pool("adaptive_mean", lambda x: F.adaptive_avg_pool2d(x, (3, 4)), (2, 3, 7, 6))
pool("adaptive_max", lambda x: F.adaptive_max_pool2d(x, (2, 5)), (2, 3, 7, 6), (3, 3, 7, 6))
pool("global_mean", lambda x: F.adaptive_avg_pool2d(x, 1), (2, 3, 7, 6))

# ---- sizes

def resize(name, shape, **kwargs):
    pool(name, lambda x: F.interpolate(x, **kwargs), shape)

resize("nearest", (2, 3, 5, 6), size=(7, 4), mode="nearest")
resize("nearest_exact", (2, 3, 5, 6), size=(8, 3), mode="nearest-exact")
resize("nearest3d", (1, 2, 2, 3, 4), size=(4, 5, 3), mode="nearest")
resize("linear1d", (2, 3, 7), size=11, mode="linear")
resize("bilinear", (2, 3, 5, 6), size=(8, 4), mode="bilinear")
resize("linear_corners", (2, 3, 5, 6), size=(8, 1), mode="bilinear", align_corners=True)
resize("linear_antialias", (2, 3, 9, 6), size=(4, 8), mode="bilinear", antialias=True)
resize("cubic", (2, 3, 5, 6), size=(8, 4), mode="bicubic")
resize("cubic_corners", (2, 3, 5, 6), size=(3, 9), mode="bicubic", align_corners=True)
resize("cubic_antialias", (2, 3, 9, 8), size=(4, 11), mode="bicubic", antialias=True)
pool("pixel_shuffle", lambda x: F.pixel_shuffle(x, 3), (2, 18, 2, 3), (1, 18, 2, 4))
pool("pixel_unshuffle", lambda x: F.pixel_unshuffle(x, 2), (2, 3, 4, 6))

g.save()
