"""The losses of a model that ends in `Heads`: one for each head, their weighted sum, and metrics by head.

L = sum over heads of weight * L_head, as `engine.losses.weighted_sum` makes it (Caruana 1997); here each head has an
`Objective`, so that its targets are checked by what its loss takes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from engine.checks import describe, number
from engine.errors import bad_input, bad_type
from engine.losses.weighted import WeightedSum
from engine.training.examples.figures import check_metrics, name_of
from engine.training.examples.objectives import Objective, make_objective
from engine.training.task import Batch


@dataclass(frozen=True)
class HeadLosses:
    """The loss and the weight of each head.

    Attributes
    ----------
    heads : dict of str to pair of `Objective` and float.
    """

    heads: Mapping[str, tuple[Objective, float]]

    @property
    def name(self) -> str:
        """For messages and tables; it tells two runs of other losses or weights apart."""
        return " + ".join(f"{weight:g} {head}:{loss.name}" for head, (loss, weight) in self.heads.items())


def read_loss(loss: Any) -> Objective | HeadLosses:
    """The loss of one output, or a dict of losses: of each head a loss, or a pair of a loss and its weight."""
    if isinstance(loss, HeadLosses):
        return loss
    given = loss.losses if isinstance(loss, WeightedSum) else loss
    if not isinstance(given, Mapping):
        return make_objective(loss)
    if not given:
        raise bad_input("loss", "a loss for each head", "an empty dict")
    found = {}
    for name, one in given.items():
        function, weight = one if isinstance(one, tuple | list) and len(one) == 2 else (one, 1.0)
        title = f"loss[{name!r}]"
        hint = 'give the loss, or a pair of it and its weight, such as ("cross_entropy", 0.3)'
        found[name] = (make_objective(function, title), number(title, weight, hint=hint))
    if not any(weight for _, weight in found.values()):
        raise bad_input("loss", "some head with a weight above 0", "zeros alone")
    return HeadLosses(found)


def read_metrics(objective: Objective | HeadLosses, metrics: Any) -> Any:
    """The metrics asked for, a tuple; of several heads a dict of tuples, with one for each head."""
    if not isinstance(objective, HeadLosses):
        return check_metrics(metrics)
    if not isinstance(metrics, Mapping):
        if isinstance(metrics, Sequence) and not isinstance(metrics, str) and not metrics:
            return dict.fromkeys(objective.heads, ())
        hint = 'such as metrics={"topic": ["accuracy"]}'
        raise bad_type("metrics", f"a dict with the metrics of heads {list(objective.heads)}", describe(metrics), hint)
    require_heads("metrics", metrics, list(objective.heads))
    return {name: check_metrics(metrics.get(name, ()), f"metrics[{name!r}]") for name in objective.heads}


def metric_names(objective: Objective | HeadLosses, metrics: Any) -> list[str]:
    """What the metrics are called in the history: those of a head have its name in front, and its loss is one."""
    if not isinstance(objective, HeadLosses):
        return [metric if isinstance(metric, str) else name_of(metric) for metric in metrics]
    names = {head: ["loss", *metric_names(objective.heads[head][0], metrics[head])] for head in objective.heads}
    return [f"{head}.{name}" for head, own in names.items() for name in dict.fromkeys(own)]


def require_heads(argument: str, given: Mapping[str, Any], heads: Sequence[str], each: str = "") -> None:
    """Raise unless all names are heads.

    Parameters
    ----------
    each : what every head must have one of, such as "targets"; "" if heads may be left out.
    """
    unknown = [name for name in given if name not in heads]
    if unknown:
        raise bad_input(argument, f"names of the heads {list(heads)}", describe(unknown[0]))
    missing = [name for name in heads if name not in given]
    if each and missing:
        hint = "of a head that is not to be trained, give the loss the weight 0"
        raise bad_input(argument, f"{each} for each of the heads {list(heads)}", f"none for {missing[0]!r}", hint)


def of_head(batch: Batch, name: str) -> Batch:
    """What concerns one head of a batch."""
    return Batch(batch.x, batch.targets[name], batch.lengths, batch.mask[name])


__all__ = ["HeadLosses", "metric_names", "of_head", "read_loss", "read_metrics", "require_heads"]
