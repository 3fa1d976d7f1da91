#!/usr/bin/env python3
"""Computes golden.safetensors: what the bundled model must answer.

A plain NumPy forward pass in float64 over the exported BF16 weights.  The file
holds

    input_ids   I64 [S]     a prompt, the begin token included
    logits_f64  F64 [S, V]  the logits of every position of the prompt
    greedy_ids  I64 [64]    the prompt, then the greedy continuation
                            (the end token is not heeded)

and the metadata "prompt" and "text" (greedy_ids decoded).

    python3 golden.py [--model .] [--out golden.safetensors] [--check]

Needs: numpy, tokenizers.  --check also compares with the Llama of the
`transformers` library (needs torch and transformers).
"""

import argparse
import json
import os
import struct

import numpy as np
from tokenizers import Tokenizer

PROMPT = ("Once upon a time, there was a little fox named Mia who lived on a farm. "
          "Mia was afraid of the dark.")
GREEDY_LENGTH = 64


def read_safetensors(path):
    """All the tensors of a file of BF16 tensors, as float64 (which is exact)."""
    with open(path, "rb") as f:
        data = f.read()
    size, = struct.unpack_from("<Q", data)
    header = json.loads(data[8:8 + size])
    tensors = {}
    for name, info in header.items():
        if name == "__metadata__":
            continue
        assert info["dtype"] == "BF16", name
        begin, end = (8 + size + offset for offset in info["data_offsets"])
        bits = np.frombuffer(data[begin:end], dtype="<u2").astype("<u4") << 16
        tensors[name] = bits.view("<f4").astype(np.float64).reshape(info["shape"])
    return tensors


def write_safetensors(path, tensors, metadata):
    """Writes I64 and F64 tensors."""
    header, offset = {"__metadata__": metadata}, 0
    for name, a in tensors.items():
        header[name] = {"dtype": {"int64": "I64", "float64": "F64"}[a.dtype.name],
                        "shape": list(a.shape), "data_offsets": [offset, offset + a.nbytes]}
        offset += a.nbytes
    text = json.dumps(header).encode("utf-8")
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as f:
        f.write(struct.pack("<Q", len(text)) + text)
        for a in tensors.values():
            f.write(np.ascontiguousarray(a).tobytes())


def rms_norm(x, weight, eps):
    return x / np.sqrt(np.mean(x * x, axis=-1, keepdims=True) + eps) * weight


def rope(x, theta):
    """Rotates x [heads, S, d]; dimension i is paired with i + d/2."""
    length, dim = x.shape[1], x.shape[2]
    inverse = theta ** (-np.arange(0, dim, 2) / dim)
    angle = np.arange(length)[:, None] * inverse[None, :]
    cos, sin = np.cos(angle), np.sin(angle)
    left, right = x[..., :dim // 2], x[..., dim // 2:]
    return np.concatenate([left * cos - right * sin, right * cos + left * sin], axis=-1)


def softmax(x):
    e = np.exp(x - x.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


def forward(w, c, ids):
    """Logits [S, V] for the token ids [S]."""
    heads, kv_heads, dim = c["num_attention_heads"], c["num_key_value_heads"], c["head_dim"]
    eps, theta, length = c["rms_norm_eps"], c["rope_theta"], len(ids)
    future = np.triu(np.ones((length, length), dtype=bool), 1)
    x = w["model.embed_tokens.weight"][ids]
    for n in range(c["num_hidden_layers"]):
        def linear(a, name):
            return a @ w["model.layers.%d.%s.weight" % (n, name)].T

        def split(a, count):
            return a.reshape(length, count, dim).transpose(1, 0, 2)

        a = rms_norm(x, w["model.layers.%d.input_layernorm.weight" % n], eps)
        q = rope(split(linear(a, "self_attn.q_proj"), heads), theta)
        k = rope(split(linear(a, "self_attn.k_proj"), kv_heads), theta)
        v = split(linear(a, "self_attn.v_proj"), kv_heads)
        k, v = (np.repeat(t, heads // kv_heads, axis=0) for t in (k, v))
        scores = q @ k.transpose(0, 2, 1) / np.sqrt(dim)
        scores[:, future] = -np.inf
        y = (softmax(scores) @ v).transpose(1, 0, 2).reshape(length, heads * dim)
        x = x + linear(y, "self_attn.o_proj")

        a = rms_norm(x, w["model.layers.%d.post_attention_layernorm.weight" % n], eps)
        gate, up = linear(a, "mlp.gate_proj"), linear(a, "mlp.up_proj")
        x = x + linear(gate / (1 + np.exp(-gate)) * up, "mlp.down_proj")
    return rms_norm(x, w["model.norm.weight"], eps) @ w["model.embed_tokens.weight"].T


def check(folder, ids, logits, greedy):
    """Compares with transformers in float64; returns the greatest difference.

    That library computes the norms and the rotation tables in float32 whatever
    the type of the weights, so the difference is that of float32 rounding.
    """
    import torch
    from transformers import AutoTokenizer, LlamaForCausalLM
    model = LlamaForCausalLM.from_pretrained(folder, dtype=torch.float64).eval()
    with torch.no_grad():
        theirs = model(torch.tensor([ids.tolist()])).logits[0].numpy()
        answer = model(torch.tensor([greedy.tolist()])).logits[0].argmax(-1).numpy()
    assert theirs.dtype == np.float64
    assert (answer[len(ids) - 1:-1] == greedy[len(ids):]).all(), "greedy tokens differ"
    assert AutoTokenizer.from_pretrained(folder)(PROMPT)["input_ids"] == ids.tolist()
    return np.abs(theirs - logits).max()


def main():
    here = os.path.dirname(os.path.abspath(__file__))
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--model", default=here, help="folder of the model")
    parser.add_argument("--out", help="file to write (default: golden.safetensors in the folder)")
    parser.add_argument("--check", action="store_true", help="compare with transformers")
    args = parser.parse_args()

    with open(os.path.join(args.model, "config.json"), encoding="utf-8") as f:
        config = json.load(f)
    weights = read_safetensors(os.path.join(args.model, "model.safetensors"))
    tokenizer = Tokenizer.from_file(os.path.join(args.model, "tokenizer.json"))

    ids = np.array(tokenizer.encode(PROMPT).ids, dtype=np.int64)
    logits = forward(weights, config, ids)
    greedy = list(ids)
    margin = np.inf
    while len(greedy) < GREEDY_LENGTH:
        last = forward(weights, config, np.array(greedy))[-1]
        second, first = np.sort(last)[-2:]
        margin = min(margin, first - second)
        greedy.append(int(last.argmax()))
    greedy = np.array(greedy, dtype=np.int64)
    text = tokenizer.decode(greedy.tolist(), skip_special_tokens=True)

    write_safetensors(args.out or os.path.join(args.model, "golden.safetensors"),
                      {"input_ids": ids, "logits_f64": logits, "greedy_ids": greedy},
                      {"prompt": PROMPT, "text": text})
    print("prompt tokens %d  least greedy margin %.4f" % (len(ids), margin))
    print(text)
    if args.check:
        print("greatest difference from transformers %.3g (logits up to %.3g)"
              % (check(args.model, ids, logits, greedy), np.abs(logits).max()))


if __name__ == "__main__":
    main()
