#!/usr/bin/env python3
"""Makes the cases under tests/parity/modules: tiny random checkpoints and what every module of the
reference (transformers, eager attention, f32) returns for one input, in the layout of the
conformance suite "fixtures". Needs torch, transformers and safetensors; tests need only its output.

    python3 tests/parity/reference.py tests/parity/modules
"""
import json
import os
import sys

import torch
import transformers
from safetensors.torch import save_file

SIZES = dict(vocab_size=24, hidden_size=12, intermediate_size=20, head_dim=4, num_hidden_layers=2,
             num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=64,
             bos_token_id=0, eos_token_id=1, pad_token_id=None, dtype="float32")
LLAMA3 = dict(rope_type="llama3", rope_theta=500.0, factor=4.0, low_freq_factor=1.0,
              high_freq_factor=4.0, original_max_position_embeddings=16)
LONGROPE = dict(rope_type="longrope", rope_theta=100.0, factor=4.0, short_factor=[1.0, 1.5],
                long_factor=[2.0, 5.0], original_max_position_embeddings=8)
YARN = dict(rope_type="yarn", rope_theta=100.0, factor=3.0, original_max_position_embeddings=16)


def holes(*rows):
    return torch.tensor([[int(c) for c in row] for row in rows])


# name -> class, config, stored type of matrices, inputs, all modules or only few
CASES = {
    "llama/modules_bias": ("LlamaForCausalLM", dict(attention_bias=True, mlp_bias=True, rope_parameters=LLAMA3),
                           torch.float16, dict(S=5), True),
    "llama/headless": ("LlamaModel", dict(), torch.bfloat16, dict(S=3), True),
    "llama/mqa_head6_holes": ("LlamaForCausalLM",
                              dict(num_key_value_heads=1, head_dim=6, tie_word_embeddings=True),
                              torch.float16,
                              dict(attention_mask=holes("11011101", "00000000", "01100110", "00011111")), False),
    "llama/longrope_short": ("LlamaForCausalLM", dict(rope_parameters=LONGROPE), torch.bfloat16, dict(S=8), False),
    "llama/longrope_long": ("LlamaForCausalLM", dict(rope_parameters=LONGROPE), torch.bfloat16, dict(S=9), False),
    "llama/dynamic_pad": ("LlamaForCausalLM",
                          dict(max_position_embeddings=8, head_dim=6,
                               rope_parameters=dict(rope_type="dynamic", rope_theta=100.0, factor=2.0)),
                          torch.bfloat16, dict(attention_mask=holes("1111111111", "0001111111")), False),
    "llama/packed": ("LlamaForCausalLM", dict(), torch.bfloat16,
                     dict(position_ids=torch.tensor([[0, 1, 2, 0, 1, 2, 3, 0, 1]])), False),
    "mistral/modules_window": ("MistralForCausalLM", dict(sliding_window=3), torch.bfloat16, dict(S=5), True),
    "qwen2/modules": ("Qwen2ForCausalLM", dict(rope_parameters=YARN, tie_word_embeddings=True), torch.bfloat16,
                      dict(S=5), True),
    "qwen3/modules_pad": ("Qwen3ForCausalLM", dict(head_dim=6, attention_bias=True), torch.bfloat16,
                          dict(attention_mask=holes("011", "111")), True),
    "smollm3/modules_nope": ("SmolLM3ForCausalLM",
                             dict(no_rope_layers=[1, 0], use_sliding_window=True, sliding_window=3,
                                  pad_token_id=0), torch.bfloat16, dict(S=5), True),
}


def draw(model, stored):
    """Weights under which every part matters, rounded to what the file holds."""
    for name, p in model.named_parameters():
        spread = 0.3 if p.dim() == 1 else 1.4 / p.shape[1] ** 0.5
        p.data = torch.randn(p.shape) * spread + (1 if name.endswith("norm.weight") else 0)
        p.data = p.data.to(stored).float()


def first(value):
    return value[0] if isinstance(value, tuple) else getattr(value, "last_hidden_state", value)


def run(model, inputs, paths):
    """Outputs by their names, and of every module by its path; of the tables both."""
    found, hooks = {}, []
    for path, module in model.named_modules():
        if paths is not None and path not in paths or not path or path.endswith("layers"):
            continue

        def keep(module, args, out, path=path):
            if path.endswith("rotary_emb"):
                found[f"probe:{path}.0"], found[f"probe:{path}.1"] = out
            else:
                found[f"probe:{path}"] = first(out)
        hooks.append(module.register_forward_hook(keep))
    with torch.no_grad():
        out = model(**inputs, use_cache=False)
    for h in hooks:
        h.remove()
    name = "logits" if hasattr(out, "logits") else "last_hidden_state"
    found[name] = getattr(out, name)
    rows = inputs["input_ids"].shape[0]  # the rotary tables are one for all rows
    found = {k: v.detach().expand(rows, *v.shape[1:]).clone() for k, v in found.items()}
    if "attention_mask" in inputs:  # what padding gives is not defined
        for v in found.values():
            v[inputs["attention_mask"] == 0] = 0
    return found


def make(root, name, cls, options, stored, given, everything):
    torch.manual_seed(sum(map(ord, name)))
    cls = getattr(transformers, cls)
    config = cls.config_class(**{**SIZES, **options})
    config._attn_implementation = "eager"
    model = cls(config).eval()
    draw(model, stored)
    inputs = {k: v for k, v in given.items() if k != "S"}
    shape = next(iter(inputs.values())).shape if inputs else (1, given["S"])
    inputs = {"input_ids": torch.randint(2, SIZES["vocab_size"], shape), **inputs}
    prefix = "model." if name != "llama/headless" else ""
    paths = None if everything else {f"{prefix}layers.0.self_attn", f"{prefix}layers.1"}
    expected = run(model, inputs, paths)
    case = {"what": name, "class": cls.__name__, "reference": f"transformers {transformers.__version__}",
            "noise": {}, "scale": {}}
    if "attention_mask" in inputs:
        expected["valid"] = inputs["attention_mask"].clone()
    directory = os.path.join(root, name)
    os.makedirs(directory, exist_ok=True)
    tied = config.tie_word_embeddings
    weights = {k: v.to(stored).contiguous() for k, v in model.state_dict().items()
               if not (tied and k == "lm_head.weight")}
    save_file(weights, os.path.join(directory, "model.safetensors"))
    save_file({k: v.contiguous() for k, v in inputs.items()}, os.path.join(directory, "inputs.safetensors"))
    save_file({k: v.float() if v.is_floating_point() else v for k, v in expected.items()},
              os.path.join(directory, "expected.safetensors"))
    config.architectures = [cls.__name__]
    keys = config.to_diff_dict()
    keys.pop("transformers_version", None)
    for path, value in (("config.json", keys), ("case.json", case)):
        with open(os.path.join(directory, path), "w") as f:
            json.dump(value, f, sort_keys=True)
            f.write("\n")


if __name__ == "__main__":
    for case_name, case_args in CASES.items():
        make(sys.argv[1], case_name, *case_args)
