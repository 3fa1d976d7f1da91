#!/usr/bin/env python3
"""Trains the bundled model from nothing on the text that stories.py writes.

Steps: write the corpus, train a byte-level BPE tokenizer on a part of it, pack
the stories into sequences, train a small Llama-architecture network, round the
weights to BF16, measure the loss of the rounded weights on held-out stories,
and write the folder in the Hugging Face layout.

    python3 train.py --out out --minutes 40 --threads 1
    python3 train.py --out out --steps 4000
    python3 train.py --out final --init out --simple --minutes 10 --lr 0.001

With --init the tokenizer and the weights of an earlier run are trained on.

Needs: torch, numpy, tokenizers, safetensors.
"""

import argparse
import json
import math
import os
import random
import time

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers

import stories

BOS, EOS = "<|begin|>", "<|end|>"

CONFIG = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "vocab_size": 1024,
    "hidden_size": 192,
    "intermediate_size": 512,
    "num_hidden_layers": 6,
    "num_attention_heads": 6,
    "num_key_value_heads": 2,
    "head_dim": 32,
    "hidden_act": "silu",
    "max_position_embeddings": 512,
    "rms_norm_eps": 1e-5,
    "rope_theta": 10000.0,
    "rope_scaling": None,
    "attention_bias": False,
    "attention_dropout": 0.0,
    "mlp_bias": False,
    "initializer_range": 0.02,
    "pretraining_tp": 1,
    "tie_word_embeddings": True,
    "torch_dtype": "bfloat16",
    "use_cache": True,
    "bos_token_id": 0,
    "eos_token_id": 1,
}


# --------------------------------------------------------------------------
# The network
# --------------------------------------------------------------------------

class RMSNorm(nn.Module):
    def __init__(self, size, eps):
        super().__init__()
        self.weight, self.eps = nn.Parameter(torch.ones(size)), eps

    def forward(self, x):
        return F.rms_norm(x, (x.shape[-1],), self.weight, self.eps)


def rope_tables(length, head_dim, theta):
    """cos and sin, [length, head_dim]; dimension i is paired with i + d/2."""
    inverse = 1.0 / theta ** (torch.arange(0, head_dim, 2).double() / head_dim)
    angle = torch.outer(torch.arange(length).double(), inverse)
    angle = torch.cat([angle, angle], dim=-1)
    return angle.cos().float(), angle.sin().float()


def rotate(x, cos, sin):
    left, right = x.chunk(2, dim=-1)
    return x * cos + torch.cat([-right, left], dim=-1) * sin


class Attention(nn.Module):
    """Causal self-attention with fewer key-value heads than query heads."""

    def __init__(self, c):
        super().__init__()
        hidden, self.dim = c["hidden_size"], c["head_dim"]
        self.heads, self.kv_heads = c["num_attention_heads"], c["num_key_value_heads"]
        self.q_proj = nn.Linear(hidden, self.heads * self.dim, bias=False)
        self.k_proj = nn.Linear(hidden, self.kv_heads * self.dim, bias=False)
        self.v_proj = nn.Linear(hidden, self.kv_heads * self.dim, bias=False)
        self.o_proj = nn.Linear(self.heads * self.dim, hidden, bias=False)

    def forward(self, x, cos, sin):
        batch, length, _ = x.shape
        q = self.q_proj(x).view(batch, length, self.heads, self.dim).transpose(1, 2)
        k = self.k_proj(x).view(batch, length, self.kv_heads, self.dim).transpose(1, 2)
        v = self.v_proj(x).view(batch, length, self.kv_heads, self.dim).transpose(1, 2)
        group = self.heads // self.kv_heads
        q, k = rotate(q, cos, sin), rotate(k, cos, sin)
        k, v = k.repeat_interleave(group, 1), v.repeat_interleave(group, 1)
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        return self.o_proj(y.transpose(1, 2).reshape(batch, length, -1))


class MLP(nn.Module):
    """SwiGLU."""

    def __init__(self, c):
        super().__init__()
        hidden, inner = c["hidden_size"], c["intermediate_size"]
        self.gate_proj = nn.Linear(hidden, inner, bias=False)
        self.up_proj = nn.Linear(hidden, inner, bias=False)
        self.down_proj = nn.Linear(inner, hidden, bias=False)

    def forward(self, x):
        return self.down_proj(F.silu(self.gate_proj(x)) * self.up_proj(x))


class Layer(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.input_layernorm = RMSNorm(c["hidden_size"], c["rms_norm_eps"])
        self.self_attn = Attention(c)
        self.post_attention_layernorm = RMSNorm(c["hidden_size"], c["rms_norm_eps"])
        self.mlp = MLP(c)

    def forward(self, x, cos, sin):
        x = x + self.self_attn(self.input_layernorm(x), cos, sin)
        return x + self.mlp(self.post_attention_layernorm(x))


class Llama(nn.Module):
    """The decoder; parameter names are those of Hugging Face without "model."."""

    def __init__(self, c):
        super().__init__()
        self.embed_tokens = nn.Embedding(c["vocab_size"], c["hidden_size"])
        self.layers = nn.ModuleList(Layer(c) for _ in range(c["num_hidden_layers"]))
        self.norm = RMSNorm(c["hidden_size"], c["rms_norm_eps"])
        cos, sin = rope_tables(c["max_position_embeddings"], c["head_dim"], c["rope_theta"])
        self.register_buffer("cos", cos, persistent=False)
        self.register_buffer("sin", sin, persistent=False)
        # Small normal weights; those that write to the residual are smaller.
        depth = 1.0 / math.sqrt(2 * c["num_hidden_layers"])
        for name, p in self.named_parameters():
            if p.dim() == 2:
                out = name.endswith(("o_proj.weight", "down_proj.weight"))
                std = 0.02 if "embed" in name else p.shape[1] ** -0.5 * (depth if out else 1.0)
                nn.init.normal_(p, std=std)

    def forward(self, ids):
        x = self.embed_tokens(ids)
        cos, sin = self.cos[:ids.shape[1]], self.sin[:ids.shape[1]]
        for layer in self.layers:
            x = layer(x, cos, sin)
        return F.linear(self.norm(x), self.embed_tokens.weight)


# --------------------------------------------------------------------------
# The data
# --------------------------------------------------------------------------

def train_tokenizer(texts, vocab_size):
    """Byte-level BPE; the tokenizer puts the begin token in front."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.train_from_iterator(texts, trainers.BpeTrainer(
        vocab_size=vocab_size, special_tokens=[BOS, EOS], show_progress=False,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet())))
    tokenizer.post_processor = processors.TemplateProcessing(
        single=BOS + " $A", pair="%s $A %s $B:1" % (BOS, BOS), special_tokens=[(BOS, 0)])
    assert tokenizer.token_to_id(BOS) == CONFIG["bos_token_id"]
    assert tokenizer.token_to_id(EOS) == CONFIG["eos_token_id"]
    assert tokenizer.get_vocab_size() == vocab_size
    return tokenizer


def encode(tokenizer, texts):
    """Token ids of each text: begin token, text, end token."""
    eos = CONFIG["eos_token_id"]
    return [e.ids + [eos] for e in tokenizer.encode_batch(texts)]


def pack(documents, length):
    """Fills rows of `length` + 1 tokens (inputs and shifted targets).

    Every row starts at the beginning of a story, as prompts do; a story that
    does not fit into the end of its row is cut off there.
    """
    rows, row = [], []
    for ids in documents:
        row.extend(ids)
        if len(row) > length:
            rows.append(row[:length + 1])
            row = []
    return np.array(rows, dtype=np.int16)


# --------------------------------------------------------------------------
# Training
# --------------------------------------------------------------------------

def loss_of(model, rows):
    rows = torch.from_numpy(rows.astype(np.int64))
    logits = model(rows[:, :-1])
    return F.cross_entropy(logits.reshape(-1, logits.shape[-1]), rows[:, 1:].reshape(-1))


@torch.no_grad()
def evaluate(model, rows, batch=4):
    """Mean loss (nats per token) over all the full batches of `rows`."""
    losses = [loss_of(model, rows[i:i + batch]).item()
              for i in range(0, len(rows) - batch + 1, batch)]
    return sum(losses) / len(losses)


def train(model, rows, held_out, args):
    """AdamW with warm-up and a cosine down to a hundredth of the peak.

    The schedule follows the steps or, with --minutes, the time, whichever is
    further along, so that a run always ends with a small learning rate.
    """
    matrices = [p for p in model.parameters() if p.dim() == 2]
    vectors = [p for p in model.parameters() if p.dim() != 2]
    optimizer = torch.optim.AdamW(
        [{"params": matrices, "weight_decay": 0.05}, {"params": vectors, "weight_decay": 0.0}],
        lr=args.lr, betas=(0.9, 0.95))
    order, rng = [], np.random.default_rng(args.seed)
    start, step, average = time.time(), 0, None
    while True:
        seconds = time.time() - start
        progress = step / args.steps
        if args.minutes:
            progress = max(progress, seconds / (60 * args.minutes))
        if progress >= 1:
            break
        rate = args.lr * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * progress)))
        for group in optimizer.param_groups:
            group["lr"] = rate * min(1.0, (step + 1) / args.warmup)
        if len(order) < args.batch:
            order = list(rng.permutation(len(rows)))
        pick, order = order[:args.batch], order[args.batch:]
        loss = loss_of(model, rows[pick])
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        step += 1
        average = loss.item() if average is None else 0.97 * average + 0.03 * loss.item()
        if step % 50 == 0 or step == 1:
            print("step %d  loss %.4f  rate %.5f  tokens %.2fM  %.0f s"
                  % (step, average, group["lr"],
                     step * args.batch * args.length / 1e6, time.time() - start), flush=True)
        if step % 1000 == 0:
            print("held-out loss %.4f" % evaluate(model, held_out), flush=True)
    return {"steps": step, "tokens_seen": step * args.batch * args.length,
            "minutes": round((time.time() - start) / 60, 1), "train_loss": round(average, 4)}


@torch.no_grad()
def generate(model, tokenizer, prompt, temperature, count=400, seed=0):
    """Continues `prompt`; ends at the end token."""
    draw = torch.Generator().manual_seed(seed)
    ids = tokenizer.encode(prompt).ids
    while len(ids) < min(count, CONFIG["max_position_embeddings"]):
        logits = model(torch.tensor([ids]))[0, -1]
        if temperature == 0:
            token = int(logits.argmax())
        else:
            token = int(torch.multinomial(torch.softmax(logits / temperature, 0), 1, generator=draw))
        if token == CONFIG["eos_token_id"]:
            return tokenizer.decode(ids) + " " + EOS
        ids.append(token)
    return tokenizer.decode(ids)


# --------------------------------------------------------------------------
# Export
# --------------------------------------------------------------------------

def write_json(path, value):
    with open(path, "w", encoding="utf-8") as f:
        json.dump(value, f, indent=2)
        f.write("\n")


def export(model, tokenizer, out):
    """Rounds the weights to BF16, in the model too, and writes the folder."""
    tensors = {}
    for name, p in model.named_parameters():
        half = p.detach().to(torch.bfloat16).contiguous()
        p.data.copy_(half.float())
        tensors["model." + name] = half
    save_file(tensors, os.path.join(out, "model.safetensors"), metadata={"format": "pt"})
    tokenizer.save(os.path.join(out, "tokenizer.json"))
    write_json(os.path.join(out, "config.json"), CONFIG)
    write_json(os.path.join(out, "generation_config.json"), {
        "bos_token_id": CONFIG["bos_token_id"], "eos_token_id": CONFIG["eos_token_id"],
        "do_sample": False, "max_length": CONFIG["max_position_embeddings"]})
    write_json(os.path.join(out, "tokenizer_config.json"), {
        "tokenizer_class": "PreTrainedTokenizerFast", "bos_token": BOS, "eos_token": EOS,
        "add_bos_token": True, "add_eos_token": False, "clean_up_tokenization_spaces": False,
        "model_max_length": CONFIG["max_position_embeddings"],
        "added_tokens_decoder": {
            str(i): {"content": token, "special": True, "normalized": False,
                     "lstrip": False, "rstrip": False, "single_word": False}
            for i, token in enumerate([BOS, EOS])}})


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", default="out", help="folder to write")
    parser.add_argument("--init", help="folder of an earlier run to go on from")
    parser.add_argument("--simple", action="store_true", help="train on the simple stories")
    parser.add_argument("--stories", type=int, default=60000, help="number of training stories")
    parser.add_argument("--steps", type=int, default=4000, help="most optimizer steps")
    parser.add_argument("--minutes", type=float, default=0, help="most minutes of training (0: no limit)")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads")
    parser.add_argument("--batch", type=int, default=4, help="sequences per step")
    parser.add_argument("--length", type=int, default=512, help="tokens per sequence")
    parser.add_argument("--lr", type=float, default=3e-3, help="peak learning rate")
    parser.add_argument("--warmup", type=int, default=100, help="warm-up steps")
    parser.add_argument("--seed", type=int, default=1, help="seed of stories, weights and order")
    args = parser.parse_args()

    os.makedirs(args.out, exist_ok=True)
    torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)
    random.seed(args.seed)

    texts = list(stories.stories(args.stories, args.seed, args.simple))
    seen = set(texts)
    fresh = [t for t in stories.stories(600, args.seed + 1, args.simple) if t not in seen]
    if args.init:
        tokenizer = Tokenizer.from_file(os.path.join(args.init, "tokenizer.json"))
    else:
        tokenizer = train_tokenizer(texts[:20000], CONFIG["vocab_size"])
    documents = encode(tokenizer, texts)
    lengths = [len(d) for d in documents]
    rows = pack(documents, args.length)
    held_out = pack(encode(tokenizer, fresh), args.length)
    print("stories %d  tokens %d (%d to %d per story)  rows %d  held-out rows %d"
          % (len(texts), sum(lengths), min(lengths), max(lengths), len(rows), len(held_out)))

    model = Llama(CONFIG)
    if args.init:
        tensors = load_file(os.path.join(args.init, "model.safetensors"))
        model.load_state_dict({name[len("model."):]: t.float() for name, t in tensors.items()})
    print("parameters %d" % sum(p.numel() for p in model.parameters()), flush=True)
    report = train(model, rows, held_out, args)
    export(model, tokenizer, args.out)
    report["held_out_loss_bf16"] = round(evaluate(model, held_out), 4)
    print(json.dumps(report), flush=True)
    for prompt in ["Once upon a time", "Once upon a time, there was a little"]:
        for temperature in (0, 0.8):
            print("\n[temperature %.1f] %s"
                  % (temperature, generate(model, tokenizer, prompt, temperature)), flush=True)


if __name__ == "__main__":
    main()
