"""`engine.fit` and `engine.evaluate`: train and measure a model on data in memory, in one call."""

from __future__ import annotations

import contextlib
import signal
from typing import Any

from engine.checks import describe, instance, integer, switch
from engine.data.buckets import Buckets, read_buckets
from engine.errors import bad_input
from engine.layers.base import Layer
from engine.optimizers.averaging import WeightAverage
from engine.optimizers.base import Optimizer
from engine.training.examples.evaluation import measure
from engine.training.examples.example_set import ExampleSet
from engine.training.examples.examples_task import require_whole_batches
from engine.training.examples.head_losses import metric_names, read_loss, read_metrics
from engine.training.examples.sources import SourceTask
from engine.training.fitting.callbacks import check_callbacks
from engine.training.fitting.fit_data import data_of, make_fit_task, rows_or_source
from engine.training.fitting.fit_folder import open_fit
from engine.training.fitting.fit_loop import (
    FitLoop,
    Records,
    check_optimizer,
    course_of,
    files,
    put_back,
    require_finite_weights,
    settings_of,
)
from engine.training.fitting.fit_plan import plan_of, reached, saving_of
from engine.training.fitting.history import History, history_of
from engine.training.interrupt import StopRequest
from engine.training.keeping import Memory
from engine.training.loss_scale import DYNAMIC, make_scaler, read_loss_scale
from engine.training.plan import INTERRUPTED
from engine.training.progress import make_reporter
from engine.training.regularisers import read_regularisers
from engine.training.team import read_share, team_of


def fit(
    model: Layer,
    x: Any,
    y: Any = None,
    *,
    lengths: Any = None,
    mask: Any = None,
    validation: Any = None,
    loss: Any = "mse",
    metrics: Any = (),
    optimizer: Optimizer | None = None,
    epochs: int = 10,
    batch_size: int = 32,
    shuffle: bool = True,
    stateful: bool = False,
    clip: float | None = 1.0,
    gradient_noise: float = 0.0,
    ar: float = 0.0,
    tar: float = 0.0,
    average: WeightAverage | None = None,
    loss_scale: float | str = "dynamic",
    schedule: Any = None,
    patience: int = 0,
    out: Any = None,
    resume: bool = False,
    checkpoint_every: int = 0,
    callbacks: Any = (),
    weights: Any = None,
    buckets: int | Buckets = 0,
    parallel: Any = False,
    compress: float | None = None,
    seed: int = 0,
    quiet: bool = False,
) -> History:
    """Train a model on rows in memory.

    Rows come first, whatever the model's layout: for a time-major model the axes are swapped.  Numbers are converted to
    the model's dtype, a batch at a time; nothing else is copied.

    Where the model gives an output for each step and `y` has one target for each row, the output at the last valid step
    of each row is compared; with one target for each step, all valid steps are.

    Parameters
    ----------
    model : Layer
        Any layer, most often a `Sequential`.  It is changed in place.
    x : array (N, T, D), array of int (N, T), list of arrays, or a source of batches
        Rows of numbers or ids; a list holds arrays (t, D) or (t,) of unequal length.  A source has ``len(x)`` and
        ``x[k]`` (or can be iterated again and again): batches ``(x, y)``, ``(x, y, lengths)`` or
        ``(x, y, lengths, mask)``, the rows first; `y` is None then.
    y : array (N,), (N, K), (N, T), (N, T, K), a list of arrays, or a dict of these
        Targets, one for each row or one for each step: integers 0..K-1 for ``"cross_entropy"``, numbers for ``"mse"``,
        a list of label sequences for ``"ctc"`` (0 is the blank).  For a model that ends in `Heads` a dict with the
        targets of each head by its name.
    lengths : sequence of int or None
        (N,) valid steps of each row of an array; what stands behind them is not looked at.
    mask : array or None
        (N,) for targets of rows, (N, T) for targets of steps: which count (bool), or how much (numbers >= 0).  With
        `Heads` a dict of such arrays; heads that are left out have none.
    validation : float, tuple, source or None
        A fraction of the rows to hold out (drawn by `seed`; the last ones if rows are stateful or not shuffled), or
        ``(x, y)``, ``(x, y, lengths)``, ``(x, y, lengths, mask)``, or a source.
    loss : str, callable or dict
        ``"mse"``, ``"cross_entropy"`` (of logits), ``"ctc"`` (of logits), or a function
        ``loss(outputs, targets) -> (value, gradient)`` such as `engine.mse`; where there is a mask it is the third
        argument.  With `Heads` a dict with the loss of each head, or a pair of it and its weight (1 without):
        ``{"topic": "cross_entropy", "tag": ("cross_entropy", 0.3)}``; the loss is the weighted sum.
    metrics : sequence of str or callable, or dict of these
        Measured after each epoch on the validation rows, or on the training rows if there are none: ``"loss"``,
        ``"accuracy"``, ``"f1"`` (mean over the classes), ``"perplexity"``, ``"mae"``, ``"rmse"``, ``"edit_distance"``
        (for each label of the targets), or functions ``metric(outputs, targets) -> float`` of all valid positions.
        With `Heads` a dict of them by head; in the history they are ``"tag.accuracy"``, and ``"tag.loss"`` is always
        among them.
    optimizer : Optimizer or None
        Of this model, such as ``engine.SGD(model, lr=0.1, l2=1e-4)``; penalties are options of it.  None is
        ``engine.Adam(model, lr=1e-3)``.
    epochs : int
        Passes over the rows, in all: a resumed run makes those that are left.
    batch_size : int
        Rows of a batch; the last one of an epoch may have fewer.
    shuffle : bool
        Whether each epoch has another order of the rows, which depends on `seed` and the epoch alone.
    stateful : bool
        Row i of a batch starts from the state that row i of the batch before it left; each epoch starts from zeros.
        The rows keep their order then, and their number must be a multiple of `batch_size`.
    clip : float or None
        Largest norm of the gradient; None or 0 is none.
    gradient_noise : float
        Variance of the noise on the gradients at the first step, which falls (`engine.add_gradient_noise`); 0 is none.
    ar, tar : float
        Strengths of the penalties on the size and on the change of the last recurrent layer's output, in a `Sequential`
        (`engine.activation_regularization`, `engine.temporal_activation_regularization`).  They act on the gradient
        alone: the losses in the history are those of `loss`.
    average : WeightAverage or None
        An average of this model's weights.  Validation, the best weights and the model at the end are those of the
        average.
    loss_scale : float or str
        ``"dynamic"``: with a layer of precision "fp16" the loss is scaled by an `engine.LossScaler`, else it is not;
        ``"off"``; or a number, a scale that never changes.
    schedule : str, callable or None
        The learning rate by the step: ``"cosine"`` or ``"step"`` from the optimiser's lr, or a function such as those
        of `engine.optimizers.schedules`.  None leaves the rate to the optimiser and to callbacks.
    patience : int
        Epochs without a lower validation loss before training ends; the best weights are put back then, and also if
        the epochs run out before.  0 is never.
    out : str, path or None
        Folder for checkpoints and metrics; None keeps everything in memory and writes no file.
    resume : bool
        Go on with the run in `out`, bit for bit as if it had not been interrupted; start if there is none.  Model and
        data must be built as before.
    checkpoint_every : int
        Steps after which the state is saved in `out`, besides the end of each epoch: of a long epoch that is cut off
        at most so many steps are made again.  0 saves at the ends of epochs alone.
    callbacks : sequence of Callback, logs or functions
        `engine.Callback` objects, logs of `engine.training.logs`, or functions that get the progress after each epoch.
    weights : array, dict or None
        (N,) a weight for each training row in the loss, or a dict from classes to weights; others have 1.  The loss is
        the weighted mean, as with a mask of numbers; of a held-out fraction too.  With `Heads` an array is for the
        losses of all heads; or a dict by head of arrays or dicts.
    buckets : int or Buckets
        With a width > 0, batches hold rows of similar length: lengths that need equally many blocks of so many steps
        count as equal.  `engine.data.Buckets` has pools and a budget of steps as well.
    parallel : bool or Communicator
        With True the processes that MPI's launcher has started (``mpiexec -n 4 python train.py``) share the rows of
        each batch, and all get the same weights and the same history; see `engine.parallel`.
    compress : float or None
        Each of several processes sends this share (0 < share <= 1) of the entries of each gradient, those with the
        largest absolute values, and adds the rest to its next gradient (Stich et al. 2018; Lin et al. 2018).  The
        result is another one than without, and depends on the number of processes.  None sends all.
    seed : int
        Of the order of the rows and of the held-out fraction.  First weights and dropout have the model's own.
    quiet : bool
        Show no progress.

    Returns
    -------
    History
        Losses and metrics of each epoch.

    Raises
    ------
    InputError, InputTypeError
        For arguments that do not fit; nothing was trained then.
    NonFiniteError
        If a loss or gradient is NaN or infinite; it names the tensor and its step.
    KeyboardInterrupt
        After Ctrl-C, once the step at work is finished and saved; a second one ends at once.

    Examples
    --------
    >>> import numpy as np
    >>> import engine
    >>> draw = np.random.default_rng(0)
    >>> x, y = draw.random((100, 10, 10)), draw.random((100, 1))
    >>> model = engine.Sequential(engine.LSTM(10, 50), engine.Linear(50, 1))
    >>> history = engine.fit(model, x, y, epochs=10, batch_size=10, stateful=True, quiet=True)
    >>> history.epochs, history.loss[-1] < history.loss[0]
    (10, True)
    """
    instance("model", model, Layer, "a layer or Sequential of engine")
    team = team_of(parallel)
    quiet, resume = switch("quiet", quiet), switch("resume", resume)
    saving = saving_of(out, resume, checkpoint_every)
    objective = read_loss(loss)
    metrics = read_metrics(objective, metrics)
    options = {
        "loss": objective,
        "metrics": metrics,
        "batch_size": integer("batch_size", batch_size, 1),
        "shuffle": switch("shuffle", shuffle),
        "stateful": switch("stateful", stateful),
        "buckets": read_buckets("buckets", buckets) or 0,
        "seed": integer("seed", seed, 0),
    }
    rows = {"lengths": lengths, "mask": mask, "weights": weights}
    task = team.together(lambda: make_fit_task(model, objective, x, y, rows, validation, options))
    validated = task.validation is not None
    if not validated and metrics:
        task.validation = task.source if isinstance(task, SourceTask) else task.train
    if integer("patience", patience, 0) and not validated:
        raise bad_input("patience", "0 without validation", describe(patience), "give validation, such as 0.1")
    require_finite_weights(model)
    given = {"ar": ar, "tar": tar, "gradient_noise": gradient_noise, "average": average}
    regularisers = read_regularisers(model, **given, seed=options["seed"], ranks=team.size)
    optimizer = check_optimizer(model, optimizer)
    plan = plan_of(task, integer("epochs", epochs, 1), clip, patience, saving)
    plan = plan._replace(loss_scale=read_loss_scale(loss_scale))
    share, scaled = read_share(compress), make_scaler(plan.loss_scale, model) is not None
    team.together(lambda: team.compress(share, scaled))
    course = course_of(schedule, optimizer, plan.total or 0)
    listeners, logs = check_callbacks(callbacks)
    records = Records()
    team.require_equal("x", lambda: data_of(task))
    with contextlib.ExitStack() as stack:
        folder = None
        if out is not None:
            settings = settings_of(task, optimizer, plan.clip, schedule) | regularisers.settings()
            if plan.loss_scale != DYNAMIC:
                settings["loss_scale"] = plan.loss_scale
            if share is not None:
                settings["compress"] = share
            folder = stack.enter_context(team.opened(open_fit(out, resume, settings, data_of(task))))
        stop = stack.enter_context(StopRequest([signal.SIGINT]))
        reporter = make_reporter(task.position, quiet or team.rank > 0)
        stack.callback(reporter.close)
        stack.enter_context(team.guard())
        keeper = Memory(wanted=patience > 0) if folder is None else files(folder, task)
        writers = [records, *logs] if team.rank == 0 else [records]
        shard = team.shard(task)
        loop = FitLoop(shard, optimizer, plan, course, keeper, reporter, lambda: stop.requested, writers, team)
        loop.live.regularisers = regularisers
        if folder is not None and folder.checkpoint is not None:
            loop.restore(folder.checkpoint)
            reporter.note(f"resuming {folder.directory} {reached(loop.state.step, task.batches)}")
        outcome = loop.run(listeners, records.lines)
        if outcome.ending == INTERRUPTED:
            raise KeyboardInterrupt
        if patience and outcome.best_step != outcome.step:
            put_back(model, keeper)
        elif average is not None:
            average.apply()
    ending = "stopped" if loop.progress.stopped else outcome.ending
    names = metric_names(objective, metrics)
    place = None if folder is None else str(folder.directory)
    return history_of(records.lines, task.batches, names, validated, ending=ending, out=place)


def evaluate(
    model: Layer,
    x: Any,
    y: Any = None,
    *,
    lengths: Any = None,
    mask: Any = None,
    loss: Any = "mse",
    metrics: Any = (),
    batch_size: int = 32,
    stateful: bool = False,
    weights: Any = None,
) -> dict[str, float]:
    """Measure a model on rows, without dropout.

    Parameters
    ----------
    model : Layer
        Any layer; its weights do not change.
    x, y : array, array
        Rows and targets, or a source of batches and None, as `fit` takes them.
    lengths, mask : sequence of int, array or None
        As for `fit`.
    loss : str, callable or dict
        As for `fit`.
    metrics : sequence of str or callable, or dict of these
        As for `fit`.
    batch_size : int
        Rows of a batch if they are stateful; else batches are larger where that is faster, which changes no figure.
    stateful : bool
        As for `fit`.
    weights : array, dict or None
        As for `fit`.

    Returns
    -------
    dict of str to float
        ``"loss"``, and each metric by its name; with `Heads` with the head's name in front, ``"tag.accuracy"``.

    Raises
    ------
    InputError, InputTypeError
        For arguments that do not fit.

    Examples
    --------
    >>> import numpy as np
    >>> import engine
    >>> model = engine.Sequential(engine.Embedding(9, 4), engine.GRU(4, 6), engine.Linear(6, 2), seed=1)
    >>> rows = [[1, 2, 3], [4, 5], [6, 7, 8, 0], [3]]
    >>> found = engine.evaluate(model, rows, [0, 1, 1, 0], loss="cross_entropy", metrics=["accuracy"])
    >>> sorted(found), 0 <= found["accuracy"] <= 1
    (['accuracy', 'loss'], True)
    """
    instance("model", model, Layer, "a layer or Sequential of engine")
    objective = read_loss(loss)
    metrics = read_metrics(objective, metrics)
    size, stateful = integer("batch_size", batch_size, 1), switch("stateful", stateful)
    rows = {"lengths": lengths, "mask": mask, "weights": weights}
    data = rows_or_source(model, objective, x, y, rows)
    if stateful and isinstance(data, ExampleSet):
        require_whole_batches("x", len(data), size)
    found = measure(model, objective, data, metrics, size, stateful)
    return {"loss": found.loss, **found.figures}
