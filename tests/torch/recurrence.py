#!/usr/bin/env python3
"""Numbers for tests/torch/test_recurrence.c, by torch 2.4:  python3 tests/torch/recurrence.py"""
import torch
from torch import nn
from torch.nn import functional as F

from group import Group

g = Group(__file__)

# ---- cells ------------------------------------------------------------------------------------------------------
for name, kind in (("gru", nn.GRU), ("lstm", nn.LSTM)):
    two = g.draw(kind(5, 7, num_layers=2, bidirectional=True, batch_first=True), 0.4)
    g.case(name, lambda x: two(x)[0], two, dict(x=g.randn(2, 3, 5)), dict(x=g.randn(3, 1, 5)), dict(x=g.randn(1, 9, 5)))
    wide = g.draw(kind(6, 16, batch_first=True, bias=False), 0.4)
    g.case(name + "_wide", lambda x: wide(x)[0], {"cell." + k: v for k, v in wide.state_dict().items()},
           dict(x=g.randn(2, 5, 6)), dict(x=g.randn(1, 2, 6)))

gru = g.draw(nn.GRU(4, 6, batch_first=True), 0.5)
def gru_states(x, h):
    y, last = gru(x, h[None])
    return dict(y=y, h_last=last[0])
g.case("gru_states", gru_states, gru, dict(x=g.randn(2, 4, 4), h=g.randn(2, 6)), dict(x=g.randn(3, 2, 4), h=g.randn(3, 6)))

lstm = g.draw(nn.LSTM(4, 6, batch_first=True), 0.5)
def lstm_states(x, h, c):
    y, (a, b) = lstm(x, (h[None], c[None]))
    return dict(y=y, h_last=a[0], c_last=b[0])
g.case("lstm_states", lstm_states, lstm, dict(x=g.randn(2, 4, 4), h=g.randn(2, 6), c=g.randn(2, 6)),
       dict(x=g.randn(1, 3, 4), h=g.randn(1, 6), c=g.randn(1, 6)))

# A GRU whose reset gate multiplies the state (Keras' reset_after=False, ONNX's linear_before_reset 0), backwards.
def gru_before(x, h):
    w_ih, w_hh, b_ih, b_hh = (gru.state_dict()[k + "_l0"] for k in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"))
    ys = [None] * x.shape[1]
    for t in reversed(range(x.shape[1])):
        r, z, n = (x[:, t] @ w_ih.T + b_ih).split(6, -1)
        ar, az, _ = (h @ w_hh.T + b_hh).split(6, -1)
        r, z = torch.sigmoid(r + ar), torch.sigmoid(z + az)
        n = torch.tanh(n + (r * h) @ w_hh[12:].T + b_hh[12:])
        h = (1 - z) * n + z * h
        ys[t] = h
    return dict(y=torch.stack(ys, 1), h_last=h)
g.case("gru_before", gru_before, gru, dict(x=g.randn(2, 4, 4), h=g.randn(2, 6)))

# ---- short convolutions -----------------------------------------------------------------------------------------
conv = g.draw(nn.Conv1d(19, 19, 4, groups=19))
def short_conv(x, s):
    whole = torch.cat([s, x], 1)
    return dict(y=conv(whole.transpose(1, 2)).transpose(1, 2), last=whole[:, -3:])
g.case("short_conv", short_conv, conv, dict(x=g.randn(2, 5, 19), s=g.randn(2, 3, 19)), dict(x=g.randn(1, 1, 19), s=g.randn(1, 3, 19)))

class Tokens:
    """The same sequence in steps: a run goes on where the one before it ended."""
    def __init__(self, compute, *inputs):
        self.compute, self.past = compute, None
    def __call__(self, **inputs):
        if self.past is None:
            self.past = inputs
        else:
            self.past = {k: torch.cat([self.past[k], v]) for k, v in inputs.items()}
        n = next(iter(inputs.values())).shape[0]
        return self.compute(**{k: v[None] for k, v in self.past.items()})[0, -n:]
def steps(lengths, **widths):
    return [{k: g.randn(n, *w) * (0.3 if k in ("dt",) else 1) for k, w in widths.items()} for n in lengths]

taps = conv.weight
g.case("short_conv_tokens", Tokens(lambda x: short_conv(x, torch.zeros(1, 3, 19))["y"]), conv,
       *steps((5, 1, 1, 4), x=(19,)))

# ---- the gated delta rule ---------------------------------------------------------------------------------------
def delta(q, k, v, g, beta, S=None, eps=0.0, tile=False):
    B, T, H, E = v.shape
    r = H // q.shape[2]
    if eps:
        q, k = (x * torch.rsqrt((x * x).sum(-1, keepdim=True) + eps) for x in (q, k))
    q, k = (x.repeat(1, 1, r, 1) if tile else x.repeat_interleave(r, 2) for x in (q, k))
    S = torch.zeros(B, H, q.shape[-1], E) if S is None else S.clone()
    o = torch.empty(B, T, H, E)
    for t in range(T):
        S = S * g[:, t, :, None, None].exp()
        d = (v[:, t] - torch.einsum("bhde,bhd->bhe", S, k[:, t])) * beta[:, t, :, None]
        S = S + k[:, t, :, :, None] * d[:, :, None]
        o[:, t] = torch.einsum("bhde,bhd->bhe", S, q[:, t]) / q.shape[-1] ** 0.5
    return o, S
def delta_inputs(*lead):
    return dict(q=g.randn(*lead, 2, 6), k=g.randn(*lead, 2, 6), v=g.randn(*lead, 4, 18), g=-g.randn(*lead, 4).abs(),
                beta=g.randn(*lead, 4).sigmoid())
def delta_state(q, k, v, g, beta, s):
    o, S = delta(q, k, v, g, beta, s, 1e-6)
    return dict(y=o, last=S)
g.case("delta_rule", delta_state, {}, dict(delta_inputs(2, 3), s=g.randn(2, 4, 6, 18)), dict(delta_inputs(1, 7), s=g.randn(1, 4, 6, 18)))
g.case("gdn_scan", lambda **x: delta(**x, tile=True, eps=1e-6)[0], {}, delta_inputs(2, 4), delta_inputs(1, 2))
g.case("gdn_tokens", Tokens(lambda **x: delta(**x, eps=1e-6)[0]), {}, *[delta_inputs(n) for n in (4, 1, 3)])

# ---- state spaces -----------------------------------------------------------------------------------------------
def s6(x, dt, b, c, A, D, h=None):
    h = torch.zeros(x.shape[0], *A.shape) if h is None else h
    ys = []
    for t in range(x.shape[1]):
        h = torch.exp(dt[:, t, :, None] * A) * h + (dt[:, t] * x[:, t])[..., None] * b[:, t, None]
        ys.append((h * c[:, t, None]).sum(-1) + D * x[:, t])
    return torch.stack(ys, 1), h
A, D = -g.randn(11, 16).abs(), g.randn(11)
def mamba(x, dt, b, c, h):
    y, last = s6(x, dt, b, c, A, D, h)
    return dict(y=y, last=last)
def s6_inputs(*lead):
    return dict(x=g.randn(*lead, 11), dt=g.randn(*lead, 11).abs() * 0.3, b=g.randn(*lead, 16), c=g.randn(*lead, 16))
g.case("mamba", mamba, {"A": A, "D": D}, dict(s6_inputs(2, 4), h=g.randn(2, 11, 16)), dict(s6_inputs(3, 1), h=g.randn(3, 11, 16)))
g.case("mamba_tokens", Tokens(lambda x, dt, b, c: s6(x, dt, b, c, A, D)[0]), {"A": A, "D": D}, *[s6_inputs(n) for n in (3, 1, 1, 2)])

def ssd(x, dt, b, c, A, D, h=None):
    B, T, H, P = x.shape
    b, c = (v.repeat_interleave(H // v.shape[2], 2) for v in (b, c))
    h = torch.zeros(B, H, P, b.shape[-1]) if h is None else h
    ys = []
    for t in range(T):
        u = dt[:, t, :, None] * x[:, t]
        h = torch.exp(dt[:, t] * A)[..., None, None] * h + u[..., None] * b[:, t, :, None]
        ys.append((h * c[:, t, :, None]).sum(-1) + D[:, None] * x[:, t])
    return torch.stack(ys, 1), h
A2, D2 = -g.randn(4).abs(), g.randn(4)
def ssd_inputs(*lead):
    return dict(x=g.randn(*lead, 4, 5), dt=g.randn(*lead, 4).abs() * 0.3, b=g.randn(*lead, 2, 20), c=g.randn(*lead, 2, 20))
def mamba2(x, dt, b, c, h):
    y, last = ssd(x, dt, b, c, A2, D2, h)
    return dict(y=y, last=last)
g.case("mamba2", mamba2, {"A": A2, "D": D2}, dict(ssd_inputs(2, 3), h=g.randn(2, 4, 5, 20)), dict(ssd_inputs(1, 5), h=g.randn(1, 4, 5, 20)))
g.case("mamba2_tokens", Tokens(lambda x, dt, b, c: ssd(x, dt, b, c, A2, D2)[0]), {"A": A2, "D": D2}, *[ssd_inputs(n) for n in (2, 1, 3)])

# ---- recurrences of one's own -----------------------------------------------------------------------------------
def cell(x, s, w):
    ys = []
    for t in range(x.shape[0]):
        s = torch.tanh(s @ w.T + x[t])
        ys.append(s.max(-1).values)
    return dict(y=torch.stack(ys), last=s)
w = g.randn(9, 9)
g.case("recur", lambda x, s: cell(x, s, w), {"w": w}, dict(x=g.randn(4, 3, 9), s=g.randn(3, 9)), dict(x=g.randn(1, 2, 9), s=g.randn(2, 9)))

def newton(a):
    """Square roots by at most 30 steps, each element until it no longer changes by 1e-3."""
    x, live, n = a.clone(), torch.ones_like(a, dtype=torch.bool), torch.zeros_like(a, dtype=torch.int32)
    for _ in range(30):
        y = (x + a / x) / 2
        n = n + live
        x, live = torch.where(live, y, x), live & ((y - x).abs() > 1e-3)
    return dict(y=x, n=n.int())
g.case("until", newton, {}, dict(a=g.randn(7).abs() * 50 + 0.1))

# ---- rows of different lengths, first and last states -----------------------------------------------------------
def packed(module):
    """As torch runs a packed sequence: h, c f32[layers * directions,B,H]."""
    def run(x, lengths, **first):
        rows = nn.utils.rnn.pack_padded_sequence(x, lengths.long(), batch_first=True, enforce_sorted=False)
        first = tuple(first.values())
        y, last = module(rows, first if len(first) > 1 else first[0])
        y, _ = nn.utils.rnn.pad_packed_sequence(y, batch_first=True, total_length=x.shape[1])
        last = last if isinstance(last, tuple) else (last,)
        return dict(y=y, **dict(zip(("h_last", "c_last"), last)))
    return run
for name, kind, names in (("gru_flow", nn.GRU, "h"), ("lstm_flow", nn.LSTM, "hc")):
    two = g.draw(kind(5, 6, num_layers=2, bidirectional=True, batch_first=True), 0.4)
    g.case(name, packed(two), two,
           *[dict(x=g.randn(len(n), s, 5), lengths=torch.tensor(n, dtype=torch.int32), **{k: g.randn(4, len(n), 6) for k in names})
             for s, n in ((4, (4, 1, 3)), (1, (1,)))])

def gru_backwards(x):
    y = gru_before(x, torch.zeros(x.shape[0], 6))
    return dict(y=y["y"], h_last=y["h_last"][None])
g.case("gru_backwards", gru_backwards, gru, dict(x=g.randn(2, 4, 4)))

# An LSTM with peepholes p (ONNX's P, in the order i, f, o), from each row's last step to its first; 0 and more steps than
# there are: none, all.
def lstm_peephole(x, lengths, p):
    w_ih, w_hh, b_ih, b_hh = (lstm.state_dict()[k + "_l0"] for k in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"))
    pi, pf, po = p.split(6)
    y, last = torch.zeros(*x.shape[:2], 6), torch.zeros(2, x.shape[0], 6)
    for row, n in enumerate(lengths.tolist()):
        h = c = torch.zeros(6)
        for t in reversed(range(min(max(n, 0), x.shape[1]))):
            i, f, u, o = (x[row, t] @ w_ih.T + b_ih + h @ w_hh.T + b_hh).split(6)
            c = torch.sigmoid(f + pf * c) * c + torch.sigmoid(i + pi * c) * torch.tanh(u)
            h = torch.sigmoid(o + po * c) * torch.tanh(c)
            y[row, t] = h
        last[0, row], last[1, row] = h, c
    return dict(y=y, h_last=last[0], c_last=last[1])
p = g.randn(18)
g.case("lstm_peephole", lambda **k: lstm_peephole(**k, p=p), {"p": p, **lstm.state_dict()},
       dict(x=g.randn(4, 3, 4), lengths=torch.tensor([2, 0, 3, 9], dtype=torch.int32)))

# ---- loops that data ends, and recurrences in recurrences -------------------------------------------------------
def countdown(n, x):
    """While more than 0 are left, at most 6 times: halves x, row by row; what each round makes is kept, then zeros."""
    y, out = x.clone(), torch.zeros(6, *x.shape)
    for row in range(x.shape[0]):
        for t in range(min(max(int(n[row]), 0), 6)):
            out[t, row] = y[row] + t
            y[row] = y[row] / 2
    return dict(y=out, last=y)
g.case("live", countdown, {}, dict(n=torch.tensor([3, 0, 9], dtype=torch.int32), x=g.randn(3, 5)), dict(n=torch.tensor([1], dtype=torch.int32), x=g.randn(1, 5)))

def nested(x, s, w):
    """A step of the outer recurrence (axis 0) takes the inner one through the rows of x[t], from the last; the inner states
    begin as the outer one, and their sums over rows are what the outer step gives."""
    ys = []
    for t in range(x.shape[0]):
        inner, rows = s, []
        for r in reversed(range(x.shape[1])):
            inner = torch.tanh(inner @ w.T + x[t, r])
            rows.insert(0, inner)
        ys.append(torch.stack(rows) * torch.arange(1, x.shape[1] + 1)[:, None])
        s = inner
    return dict(y=torch.stack(ys), last=s)
wn = g.randn(6, 6) * 0.5
g.case("nested", lambda x, s: nested(x, s, wn), {"w": wn}, dict(x=g.randn(4, 3, 6), s=g.randn(6)), dict(x=g.randn(1, 3, 6), s=g.randn(6)))

# ---- cells of other activations, what they take held in -clip..clip (ONNX's attributes) --------------------------
def hold(x, clip):
    return x.clamp(-clip, clip)
def gru_other(x, h):
    w_ih, w_hh, b_ih, b_hh = (gru.state_dict()[k + "_l0"] for k in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"))
    ys = []
    for t in range(x.shape[1]):
        r, z, n = (x[:, t] @ w_ih.T + b_ih).split(6, -1)
        ar, az, an = (h @ w_hh.T + b_hh).split(6, -1)
        r, z = F.hardsigmoid(hold(r + ar, 1.5)), F.hardsigmoid(hold(z + az, 1.5))
        h = (1 - z) * F.leaky_relu(hold(n + r * an, 1.5)) + z * h
        ys.append(h)
    return dict(y=torch.stack(ys, 1), h_last=h)
g.case("gru_other", gru_other, gru, dict(x=g.randn(2, 4, 4), h=g.randn(2, 6)))
def lstm_other(x, h, c):
    w_ih, w_hh, b_ih, b_hh = (lstm.state_dict()[k + "_l0"] for k in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"))
    ys = []
    for t in range(x.shape[1]):
        i, f, a, o = (hold(v, 0.75) for v in (x[:, t] @ w_ih.T + b_ih + h @ w_hh.T + b_hh).split(6, -1))
        c = torch.sigmoid(f) * c + torch.sigmoid(i) * F.softsign(a)
        h = torch.sigmoid(o) * F.relu(hold(c, 0.75))
        ys.append(h)
    return dict(y=torch.stack(ys, 1), h_last=h, c_last=c)
g.case("lstm_other", lstm_other, lstm, dict(x=g.randn(2, 4, 4), h=g.randn(2, 6), c=g.randn(2, 6)))

# ---- the gated delta rule by chunks: the UT transform (Yang et al., Gated Delta Networks, 2024), in f64 ------------
def delta_chunks(q, k, v, g, beta, s, chunk, eps=1e-6):
    """Per chunk, with c the running sum of g and L[i,j] = e^(c_i - c_j) below the diagonal: T = (I + diag(beta) (K K^T * L))^-1,
    U = T diag(beta) (V - diag(e^c) K S), O = diag(e^c) Q S + (Q K^T * L with its diagonal) U, S = e^c_last S + K^T diag(e^(c_last - c)) U."""
    q, k, v, g, beta, S = (x.double() for x in (q, k, v, g, beta, s))
    q, k = (x * torch.rsqrt((x * x).sum(-1, keepdim=True) + eps) for x in (q, k))
    r = v.shape[2] // q.shape[2]
    q, k, v, g, beta = (x.transpose(1, 2) for x in (q.repeat_interleave(r, 2), k.repeat_interleave(r, 2), v, g, beta))
    os = []
    for a in range(0, v.shape[2], chunk):
        Q, K, V, c, b = q[:, :, a:a + chunk], k[:, :, a:a + chunk], v[:, :, a:a + chunk], g[:, :, a:a + chunk].cumsum(-1), beta[:, :, a:a + chunk, None]
        L = (c[..., :, None] - c[..., None, :]).tril().exp().tril()
        T = torch.linalg.inv(torch.eye(Q.shape[2]).double() + b * (K @ K.mT * L).tril(-1))
        e = c.exp()[..., None]
        U = T @ (b * (V - e * (K @ S)))
        os.append(e * (Q @ S) + (Q @ K.mT * L) @ U)
        S = e[:, :, -1:] * S + (K * (c[..., -1:] - c).exp()[..., None]).mT @ U
    return torch.cat(os, 2).transpose(1, 2).float() / q.shape[-1] ** 0.5, S.float()
def chunk_inputs(*lead):
    return dict(q=g.randn(*lead, 1, 8), k=g.randn(*lead, 1, 8), v=g.randn(*lead, 2, 12), g=-0.3 * g.randn(*lead, 2).abs(), beta=g.randn(*lead, 2).sigmoid())
def delta_chunks_state(q, k, v, g, beta, s):
    o, S = delta_chunks(q, k, v, g, beta, s, 32)
    return dict(y=o, last=S)
g.case("delta_chunks", delta_chunks_state, {}, *[dict(chunk_inputs(b, t), s=g.randn(b, 2, 8, 12)) for b, t in ((2, 37), (1, 64), (3, 1))])
g.case("gdn_chunks", lambda **x: delta_chunks(**x, s=torch.zeros(x["q"].shape[0], 2, 8, 12), chunk=16)[0], {}, chunk_inputs(1, 33), chunk_inputs(2, 5))
g.case("gdn_chunks_tokens", Tokens(lambda **x: delta_chunks(**x, s=torch.zeros(1, 2, 8, 12), chunk=16)[0]), {}, *[chunk_inputs(n) for n in (12, 1, 8, 1, 26)])

# ---- a stage whose cell has other activations
g.case("lstm_stage_other", lambda x: lstm_other(x, torch.zeros(x.shape[0], 6), torch.zeros(x.shape[0], 6))["y"], lstm, dict(x=g.randn(3, 5, 4)))


# ---- cells of which a function is none: x as it is
def lstm_identity(x, h, c):
    w_ih, w_hh, b_ih, b_hh = (lstm.state_dict()[k + "_l0"] for k in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"))
    ys = []
    for t in range(x.shape[1]):
        i, f, a, o = (x[:, t] @ w_ih.T + b_ih + h @ w_hh.T + b_hh).split(6, -1)
        c = torch.sigmoid(f) * c + torch.sigmoid(i) * a
        h = torch.sigmoid(o) * c
        ys.append(h)
    return dict(y=torch.stack(ys, 1), h_last=h, c_last=c)
g.case("lstm_identity", lstm_identity, lstm, dict(x=g.randn(2, 4, 4), h=g.randn(2, 6), c=g.randn(2, 6)))
g.case("lstm_stage_identity", lambda x: lstm_identity(x, torch.zeros(x.shape[0], 6), torch.zeros(x.shape[0], 6))["y"], lstm, dict(x=g.randn(3, 5, 4)))

g.save()
