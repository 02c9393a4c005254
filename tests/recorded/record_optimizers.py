"""Write ``optimizers.npz``: what PyTorch's optimisers, schedulers, losses and clipping give, for all who lack it.

    python tests/recorded/record_optimizers.py

Each case is one optimiser with options, in this engine's names, and six steps on fixed random gradients in float64.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

PATH = Path(__file__).with_name("optimizers.npz")
STEPS = 6
SHAPES: dict[str, tuple[int, ...]] = {"weight": (3, 2), "bias": (3,), "gain": ()}
#: Options in this engine's names.  Coupled l1 is added to the gradient by hand; so is l2 for AdamW, which has none.
CASES: list[tuple[str, dict[str, Any]]] = [
    ("SGD", {"lr": 0.1}),
    ("SGD", {}),
    ("SGD", {"lr": 0.1, "momentum": 0.9}),
    ("SGD", {"lr": 0.1, "momentum": 0.8, "dampening": 0.3}),
    ("SGD", {"lr": 0.1, "momentum": 0.7, "nesterov": True}),
    ("SGD", {"lr": 0.1, "l2": 0.3}),
    ("SGD", {"lr": 0.1, "l1": 0.2}),
    ("SGD", {"lr": 0.1, "momentum": 0.9, "nesterov": True, "l1": 0.2, "l2": 0.3}),
    ("Adagrad", {}),
    ("Adagrad", {"lr": 0.3, "lr_decay": 0.2, "initial_accumulator_value": 0.1, "eps": 1e-3}),
    ("Adagrad", {"lr": 0.3, "l1": 0.2, "l2": 0.3}),
    ("RMSprop", {}),
    ("RMSprop", {"lr": 0.1, "alpha": 0.9, "eps": 1e-3}),
    ("RMSprop", {"lr": 0.1, "momentum": 0.8}),
    ("RMSprop", {"lr": 0.1, "centered": True}),
    ("RMSprop", {"lr": 0.1, "alpha": 0.8, "momentum": 0.5, "centered": True, "l1": 0.2, "l2": 0.3}),
    ("Adam", {}),
    ("Adam", {"lr": 0.1, "betas": (0.7, 0.95), "eps": 1e-3}),
    ("Adam", {"lr": 0.1, "l2": 0.3}),
    ("Adam", {"lr": 0.1, "l1": 0.2}),
    ("AdamW", {}),
    ("AdamW", {"lr": 0.1, "betas": (0.8, 0.9), "eps": 1e-3, "weight_decay": 0.4}),
    ("AdamW", {"lr": 0.1, "weight_decay": 0.4, "l1": 0.2, "l2": 0.3}),
]


def first_values() -> dict[str, np.ndarray]:
    """Starting weights, and ``grad.NAME`` (STEPS, ...); one weight is 0, where sign(w) is 0."""
    rng = np.random.default_rng(11)
    values = {name: np.asarray(rng.normal(size=shape)) for name, shape in SHAPES.items()}
    values["weight"][1, 0] = 0.0
    for name, shape in SHAPES.items():
        values[f"grad.{name}"] = rng.normal(size=(STEPS, *shape)) * np.exp(rng.normal(size=(STEPS, *shape)))
    return values


def run_case(torch: Any, kind: str, options: dict[str, Any], values: dict[str, np.ndarray]) -> np.ndarray:
    """All parameters after each step, flattened and joined, (STEPS, 10)."""
    options = dict(options)
    l1, l2 = options.pop("l1", 0.0), options.pop("l2", 0.0)
    if kind != "AdamW":
        options["weight_decay"], l2 = l2, 0.0
    params = {name: torch.tensor(values[name], dtype=torch.float64) for name in SHAPES}
    optimizer = getattr(torch.optim, kind)(list(params.values()), **options)
    rows = []
    for step in range(STEPS):
        for name, param in params.items():
            grad = torch.tensor(values[f"grad.{name}"][step], dtype=torch.float64)
            param.grad = grad + l1 * torch.sign(param) + l2 * param
        optimizer.step()
        rows.append(np.concatenate([param.numpy().reshape(-1) for param in params.values()]))
    return np.stack(rows)


def run_schedules(torch: Any) -> dict[str, np.ndarray]:
    """Learning rates before each of the first steps."""
    schedulers = torch.optim.lr_scheduler

    def rates(count: int, make: Any) -> np.ndarray:
        optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.3)
        scheduler, found = make(optimizer), []
        for _ in range(count):
            found.append(optimizer.param_groups[0]["lr"])
            optimizer.step()
            scheduler.step()
        return np.array(found)

    def warm(make: Any, steps: int, **options: Any) -> Any:
        def build(optimizer: Any) -> Any:
            rise = schedulers.LinearLR(optimizer, total_iters=steps, **options)
            return schedulers.SequentialLR(optimizer, [rise, make(optimizer)], milestones=[steps])

        return build

    def step_lr(optimizer: Any) -> Any:
        return schedulers.StepLR(optimizer, step_size=4, gamma=0.6)

    def cosine(optimizer: Any) -> Any:
        return schedulers.CosineAnnealingLR(optimizer, T_max=12, eta_min=0.02)

    def inverse(optimizer: Any) -> Any:
        return schedulers.LambdaLR(optimizer, lambda step: 1.0 / (1.0 + step))

    def constant(optimizer: Any) -> Any:
        return schedulers.LambdaLR(optimizer, lambda step: 1.0)

    return {
        "schedule.step": rates(15, step_lr),
        "schedule.cosine": rates(13, cosine),
        "schedule.inverse": rates(15, inverse),
        "schedule.warm_constant": rates(10, warm(constant, 5)),
        "schedule.warm_step": rates(18, warm(step_lr, 5)),
        "schedule.warm_cosine": rates(18, warm(cosine, 5, start_factor=0.1)),
    }


def run_losses(torch: Any) -> dict[str, np.ndarray]:
    """Both losses with their gradients, some positions left out, and clipping by norm."""
    rng = np.random.default_rng(12)
    logits, targets = 3.0 * rng.normal(size=(4, 3, 5)), rng.integers(0, 5, size=(4, 3))
    targets[1, 2] = targets[3, 0] = -100
    found: dict[str, np.ndarray] = {"ce.logits": logits, "ce.targets": targets}
    z = torch.tensor(logits, requires_grad=True)
    loss = torch.nn.functional.cross_entropy(z.reshape(-1, 5), torch.tensor(targets).reshape(-1))
    loss.backward()
    found |= {"ce.loss": loss.detach().numpy(), "ce.dlogits": z.grad.numpy()}
    prediction, target = rng.normal(size=(2, 4, 3, 2))
    y = torch.tensor(prediction, requires_grad=True)
    loss = torch.nn.functional.mse_loss(y, torch.tensor(target))
    loss.backward()
    found |= {"mse.prediction": prediction, "mse.target": target}
    found |= {"mse.loss": loss.detach().numpy(), "mse.dprediction": y.grad.numpy()}
    params = [torch.zeros(shape, dtype=torch.float64) for shape in SHAPES.values()]
    for param, shape in zip(params, SHAPES.values(), strict=True):
        param.grad = torch.tensor(rng.normal(size=shape), dtype=torch.float64)
    found |= {f"clip.before.{n}": p.grad.numpy().copy() for n, p in zip(SHAPES, params, strict=True)}
    found["clip.norm"] = torch.nn.utils.clip_grad_norm_(params, 1.5).numpy()
    found |= {f"clip.after.{n}": p.grad.numpy() for n, p in zip(SHAPES, params, strict=True)}
    return found


def record() -> dict[str, np.ndarray]:
    """Everything the file holds, from the installed PyTorch."""
    import torch

    values = first_values()
    cases = {f"case.{k:02}": run_case(torch, kind, options, values) for k, (kind, options) in enumerate(CASES)}
    names = np.array([json.dumps(case) for case in CASES])
    origin = np.array(f"PyTorch {torch.__version__.partition('+')[0]}")
    return {"origin": origin, "cases": names, **values, **cases, **run_schedules(torch), **run_losses(torch)}


if __name__ == "__main__":
    recorded: dict[str, Any] = record()
    np.savez_compressed(PATH, **recorded)
    print(f"{PATH.name}: {PATH.stat().st_size} bytes, {recorded['origin']}, {len(CASES)} cases")
