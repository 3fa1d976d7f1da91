"""A group of cases for tests/torch/harness.h: what a script GROUP.py adds to and saves beside itself."""
import os

import torch
from safetensors.torch import save_file

torch.set_grad_enabled(False)
torch.use_deterministic_algorithms(True)


class Group:
    def __init__(self, script):
        self.path = os.path.splitext(os.path.abspath(script))[0] + ".safetensors"
        self.tensors = {}
        self.random = torch.Generator().manual_seed(2024)

    def randn(self, *shape, scale=1.0):
        return torch.randn(*shape, generator=self.random) * scale

    def randint(self, most, *shape):
        return torch.randint(most, shape, generator=self.random, dtype=torch.int32)

    def draw(self, module, scale=0.5):
        """New weights for a torch module: all of them matter."""
        for p in module.parameters():
            p.copy_(self.randn(*p.shape, scale=scale))
        return module.eval()

    def case(self, name, compute, weights, *runs):
        """`compute(**inputs)` (a module gets them in their order) gives {output: tensor} or one tensor, y; `weights` is a dict or a module; `runs` are
        dicts of inputs, all for one compiled program."""
        if isinstance(weights, torch.nn.Module):
            weights = weights.state_dict()
        for key, value in weights.items():
            self.put(f"{name}/w.{key}", value)
        for i, inputs in enumerate(runs):
            head = f"{name}/{i + 1}/" if i else f"{name}/"
            outputs = compute(*inputs.values()) if isinstance(compute, torch.nn.Module) else compute(**inputs)
            if isinstance(outputs, torch.Tensor):
                outputs = {"y": outputs}
            for key, value in inputs.items():
                self.put(f"{head}in.{key}", value)
            for key, value in outputs.items():
                self.put(f"{head}out.{key}", value)

    def put(self, name, value):
        assert name not in self.tensors, name
        self.tensors[name] = value.detach().contiguous().clone()

    def save(self):
        save_file(self.tensors, self.path)
        print(f"{self.path}: {len(self.tensors)} tensors, {os.path.getsize(self.path)} bytes")
