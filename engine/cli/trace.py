"""``bptt trace``: look through the microscope at a fresh layer, or at the model of a run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from engine.cell import cells as known_cells
from engine.cli.common import SectionedCommand, draw_into, json_option, print_json, section

fresh = section("A fresh layer")
reading = section("What it reads")
looking = section("What is looked at")
shown = section("Output")

#: What a fresh layer takes, and its default; with a RUN none of these may be given.
FRESH: dict[str, Any] = {
    "cell": "lstm", "inputs": 8, "hidden": 32, "layers": 1, "bidirectional": False, "no_bias": False,
    "spectral_radius": None, "forget_bias": None, "input_scale": 1.0, "dtype": "float64",
}  # fmt: skip
STEPS, BATCH = 50, 4

EXAMPLES = """\b
Examples:
  bptt trace --cell gru --plot gru.png
  bptt trace --cell rnn_tanh --no-bias --spectral-radius 0.9 --input-scale 0.001
  bptt trace --forget-bias 0
  bptt trace --k2 10
  bptt trace runs/text --text "The gradient of the last character" --loss last
"""


@click.command(cls=SectionedCommand, epilog=EXAMPLES, short_help="See how the gradient flows through the steps.")
@click.argument("run", required=False, type=click.Path(path_type=Path))
@fresh("--cell", type=click.Choice([*known_cells()]), help="Recurrent cell. [lstm]")
@fresh("--inputs", type=int, help="Features of the input. [8]")
@fresh("--hidden", type=int, help="Units of each layer. [32]")
@fresh("--layers", type=int, help="Recurrent layers. [1]")
@fresh("--bidirectional", is_flag=True, default=None, help="Both directions.")
@fresh("--no-bias", is_flag=True, default=None, help="A layer without biases.")
@fresh("--spectral-radius", type=float, metavar="R", help="Scale the recurrent weights of each gate to it.")
@fresh("--forget-bias", type=float, metavar="V", help="Bias of the gate f. [1 for lstm]")
@fresh("--dtype", type=click.Choice(["float32", "float64"]), help="[float64]")
@reading("--steps", type=int, help=f"Time steps. [{STEPS}; of a run: as in training]")
@reading("--batch", type=int, help=f"Rows. [{BATCH}; of a run: as in training]")
@reading("--input-scale", type=float, help="The input is normal noise times this; 0: zeros. [1]")
@reading("--text", help="What the character model of RUN reads. [the first batch of its training data]")
@reading("--checkpoint", "which", type=click.Choice(["best", "last"]), help="Of a run's directory. [best]")
@looking("--loss", type=click.Choice(["last", "all"]), help="Of the last step, or of every step. [last; of a run: all]")
@looking("--k2", type=int, help="Truncated BPTT: the most steps that a loss goes back. [all]")
@looking("--k1", type=int, help="Truncated BPTT: steps between two backward passes. [1]")
@looking("--rows", default=4, show_default=True, help="Rows for which Jacobians are measured; 0: none.")
@looking("--only", multiple=True, metavar="NAME", help="A layer and direction, such as l0 or 1.l0. [all]")
@shown("--plot", metavar="FILE", type=click.Path(dir_okay=False), help="Draw it, such as trace.png.")
@shown("--seed", default=0, show_default=True, help="Of weights, input and random loss.")
@shown("--backend", default="numpy:reference", show_default=True, metavar="NAME", help="numpy, cupy, torch, ...")
@json_option
def trace(
    run: Path | None,
    steps: int | None,
    batch: int | None,
    text: str | None,
    which: str | None,
    loss: str | None,
    plot: str | None,
    seed: int,
    backend: str,
    as_json: bool,
    **given: Any,
) -> None:
    """Measure the gradient flow of a fresh layer over noise, or of RUN, a run's directory or a checkpoint file.

    Norms of the gradient of every state at every step, gates and how many are saturated, each step's share of the
    gradient of the recurrent weights, norms of the step Jacobians and of their products, memory length. The plain
    kernels are the default: nothing is compiled.
    """
    import engine
    from engine.errors import bad_input
    from engine.microscope.picture import require_a_picture

    require_a_picture(plot, "--plot")
    if plot is not None and not Path(plot).resolve().parent.is_dir():
        raise bad_input("--plot", "a file in a folder that exists", plot)
    options: dict[str, Any] = {
        "rows": given.pop("rows"),
        "only": given.pop("only") or None,
        "seed": seed,
        "truncation": _truncation(given.pop("k1"), given.pop("k2")),
    }
    asked = {name: value for name, value in given.items() if value is not None}
    if run is None:
        for name, value in (("text", text), ("checkpoint", which)):
            if value is not None:
                raise bad_input(f"--{name}", "a RUN to go with it", value, "name a run's directory")
        model, x, options["loss"] = _fresh(backend, seed, steps, batch, loss, asked)
        words = "normal noise"
    else:
        for name in asked:
            raise bad_input("--" + name.replace("_", "-"), "no RUN beside it", str(run), "a run has its own model")
        model, x, options["loss"], words, options["lengths"] = _of_run(run, which, backend, text, steps, batch, loss)
    found = engine.trace(model, x, **options)
    if as_json:
        print_json({"run": None if run is None else str(run), "input": words, **found.to_json()})
    else:
        click.echo(f"input: {words}")
        click.echo(str(found))
    if plot is not None:
        draw_into(plot, lambda: found.plot(plot))


def _truncation(k1: int | None, k2: int | None) -> tuple[int, int] | None:
    """What `engine.trace` takes for ``--k1`` and ``--k2``."""
    from engine.errors import bad_input

    if k2 is None:
        if k1 is not None:
            raise bad_input("--k1", "--k2 beside it", f"--k1 {k1} alone")
        return None
    return 1 if k1 is None else k1, k2


def _fresh(
    backend: str, seed: int, steps: int | None, batch: int | None, loss: str | None, asked: dict[str, Any]
) -> tuple[Any, Any, Any]:
    """A fresh layer, its input, and its loss: None is that of the last step."""
    import numpy as np

    from engine.microscope.generated import fresh_layer, generated_input

    chosen = FRESH | asked
    layer = fresh_layer(
        chosen["cell"], chosen["inputs"], chosen["hidden"], chosen["layers"], bias=not chosen["no_bias"],
        bidirectional=chosen["bidirectional"], spectral_radius=chosen["spectral_radius"],
        forget_bias=chosen["forget_bias"], dtype=chosen["dtype"], backend=backend, seed=seed,
    )  # fmt: skip
    T, B = STEPS if steps is None else steps, BATCH if batch is None else batch
    x = generated_input(layer, T, B, chosen["input_scale"], seed)
    if loss != "all":
        return layer, x, None

    def of_every_step(y: Any) -> tuple[Any, Any]:
        weights = layer.backend.asarray(np.random.default_rng(seed).normal(size=y.shape), dtype=layer.dtype)
        return (y * weights).sum(), weights

    return layer, x, of_every_step


def _of_run(
    run: Path, which: str | None, backend: str, text: str | None, steps: int | None, batch: int | None, loss: str | None
) -> tuple[Any, ...]:
    """The model of a run, its input, its loss, and words for the input."""
    from engine.errors import bad_input
    from engine.microscope.of_run import problem_of
    from engine.training import checkpoint_in, read_checkpoint

    if text is not None:
        for name, value in (("--steps", steps), ("--batch", batch)):
            if value is not None:
                raise bad_input(name, "no --text beside it", value, "a text is one row of its own length")
    checkpoint = read_checkpoint(checkpoint_in(run, which))
    return tuple(problem_of(checkpoint, backend, text, steps, batch, last=loss == "last"))
