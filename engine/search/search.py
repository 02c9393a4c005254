"""The loop of a search, and what it found."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from engine.errors import EngineError, InputError, NonFiniteError, StorageError, bad_input, one_line, sentence
from engine.search.studies import first_number, load_optuna, quiet_optuna
from engine.search.workers import Worker, queue_again, take_again

#: States of a trial, in the words of the table.
COMPLETE, PRUNED, FAILED, RUNNING, WAITING = "complete", "pruned", "failed", "running", "waiting"
#: Of one that was killed or stopped, and that another one goes on with.
HALF_DONE = "interrupted"
_WORDS = {"COMPLETE": COMPLETE, "PRUNED": PRUNED, "FAIL": FAILED, "RUNNING": RUNNING, "WAITING": WAITING}
#: So many failures one after another end the search.
_MOST_FAILURES = 3

#: Trains with the values of a trial, reports to it, and returns the figure.
Objective = Callable[[Any, dict[str, Any]], float]


class StoppedError(Exception):
    """Somebody wants the search to end; what was trained is saved."""


@dataclass(frozen=True)
class Found:
    """One trial of a search.

    Attributes
    ----------
    number : int
        Its number in the study.
    state : str
        ``"complete"``, ``"pruned"`` (ended early), ``"failed"``, ``"interrupted"`` (another trial goes on with it),
        ``"running"`` or ``"waiting"``.
    figure : float or None
        What was reached; of a trial that was ended early, the last value that it reported.
    values : dict
        The values that it was trained with.
    evaluations : int
        How often it was measured.
    seconds : float or None
        How long it took.
    folder : str or None
        Its run's folder.
    note : str
        Why it failed, or which trial it goes on with.
    """

    number: int
    state: str
    figure: float | None
    values: dict[str, Any]
    evaluations: int
    seconds: float | None
    folder: str | None
    note: str = ""


@dataclass(frozen=True)
class Search:
    """What a search found.

    Attributes
    ----------
    study : optuna.Study
        The study itself, for all that Optuna can do with it.
    figure : str
        The name of the figure.
    higher : bool
        Whether a higher one is better.
    trials : list of Found
        All trials, in their order.
    interrupted : bool
        Whether it was ended before it was done.

    Examples
    --------
    >>> import engine
    >>> space = {"a": [0, 1, 2, 3, 4]}
    >>> found = engine.tune(lambda values: (values["a"] - 2) ** 2, space, trials=5, sampler="grid", quiet=True)
    >>> found.best.values, found.best.figure
    ({'a': 2}, 0.0)
    >>> [one.values["a"] for one in found.ranked()][0]
    2
    """

    study: Any = field(repr=False)
    figure: str
    higher: bool
    trials: list[Found] = field(repr=False)
    interrupted: bool = False

    @property
    def best(self) -> Found | None:
        """The best of the trials that were trained to their end; None if there is none."""
        found = self.ranked()
        return found[0] if found and found[0].state == COMPLETE else None

    def ranked(self) -> list[Found]:
        """The trials from the best to the worst: first those that are complete, last those without a figure."""
        order = {COMPLETE: 0, PRUNED: 1}
        sign = -1.0 if self.higher else 1.0
        return sorted(
            self.trials,
            key=lambda one: (
                order.get(one.state, 2),
                math.inf if one.figure is None else sign * one.figure,
                one.number,
            ),
        )

    def importances(self) -> dict[str, float]:
        """How much each value matters for the figure, as shares of 1 (PED-ANOVA); {} with fewer than two trials.

        Returns
        -------
        dict of str to float
            From the name of a value to its share.
        """
        done = [one for one in self.trials if one.state == COMPLETE]
        if len({one.figure for one in done}) < 2:
            return {}
        with quiet_optuna():
            return {k: float(v) for k, v in load_optuna().importance.get_param_importances(self.study).items()}

    def to_json(self) -> dict[str, Any]:
        """A dictionary that `json.dumps` takes.

        Returns
        -------
        dict
            ``"study"``, ``"figure"``, ``"higher"``, ``"best"``, ``"trials"``, ``"importances"``.
        """
        best = self.best
        return {
            "study": self.study.study_name,
            "figure": self.figure,
            "higher": self.higher,
            "best": None if best is None else asdict(best),
            "trials": [asdict(one) for one in self.trials],
            "importances": self.importances(),
            "interrupted": self.interrupted,
        }

    def plots(self, folder: Any) -> dict[str, str]:
        """Draw Optuna's pictures of the study into a folder; those that need more trials than there are, are left out.

        Parameters
        ----------
        folder : str or path
            Where the PNG files go.

        Returns
        -------
        dict of str to str
            The files by the names of the pictures.
        """
        from engine.search.pictures import draw_study

        return draw_study(self, folder)


def search(
    study: Any,
    suggest: Callable[[Any], dict[str, Any]],
    objective: Objective,
    wanted: int,
    *,
    minutes: float | None = None,
    worker: Worker,
    told: Callable[[Found], None] = lambda found: None,
) -> bool:
    """Make trials until the study has as many as are `wanted`, without those that fail; whether it was interrupted.

    Other processes may work on the same study: all their trials count.

    Parameters
    ----------
    suggest : the values of a trial.
    minutes : no trial is begun later.
    told : gets each trial of this process when it is over.
    """
    optuna = load_optuna()
    failures, current = 0, -1

    def run(trial: Any) -> float:
        nonlocal failures, current
        current = trial.number
        if worker.name:
            trial.set_user_attr("worker", worker.name)
        try:
            value = objective(trial, suggest(trial))
        except NonFiniteError as error:  # TPE learns from a pruned trial, and nothing from a failed one
            trial.set_user_attr("note", one_line(error))
            raise optuna.TrialPruned(str(error)) from error
        except StorageError as error:
            raise _EndError(error) from error
        except (EngineError, MemoryError) as error:
            trial.set_user_attr("note", one_line(error))
            failures += 1
            none_yet = not any(one.state.name in ("COMPLETE", "PRUNED") for one in study.get_trials(deepcopy=False))
            if failures >= _MOST_FAILURES or (none_yet and isinstance(error, InputError)):
                raise _EndError(error) from error
            raise
        failures = 0
        return value

    def after(study: Any, frozen: Any) -> None:
        told(found_of(frozen))
        take_again(study, worker)
        if enough(study, wanted):
            study.stop()

    def again() -> None:
        trial = study.get_trials(deepcopy=False)[current] if current >= 0 else None
        if trial is not None and trial.state.name == "FAIL":
            queue_again(study, trial)

    with quiet_optuna():
        take_again(study, worker)
        seconds = None if minutes is None else 60.0 * minutes
        return not enough(study, wanted) and _optimize(study, run, again, {"timeout": seconds, "callbacks": [after]})


def _optimize(study: Any, run: Callable[[Any], float], again: Callable[[], None], options: dict[str, Any]) -> bool:
    """Have Optuna make trials with `run`; whether they were interrupted.  A trial that was cut off is made `again`."""
    optuna = load_optuna()
    try:
        study.optimize(run, catch=(EngineError, MemoryError), **options)
    except StoppedError:
        again()
        return True
    except KeyboardInterrupt:
        again()
        raise
    except _EndError as ends:
        error = ends.args[0]
        if isinstance(error, StorageError):
            again()
        raise error from None
    except optuna.exceptions.StorageInternalError as error:
        hint = "what was saved before is untouched; give the same command again to go on"
        raise StorageError(sentence("study", "to write into its storage", one_line(error), hint)) from error
    return False


class _EndError(Exception):
    """An error after which no further trial is made."""


def enough(study: Any, wanted: int) -> bool:
    """Whether so many trials are done or at work, and none waits; or whether a grid has no point left.

    One that goes on with another is the same one; those that failed do not count.
    """
    trials = study.get_trials(deepcopy=False)
    states = {first_number(trial): trial.state.name for trial in trials}  # of several, the last one counts
    if "WAITING" in states.values():
        return False
    if isinstance(study.sampler, load_optuna().samplers.GridSampler) and study.sampler.is_exhausted(study):
        return True
    return sum(state != "FAIL" for state in states.values()) >= wanted


def found_of(trial: Any) -> Found:
    """A trial of Optuna in the words of this package."""
    figure = trial.value
    reported = [value for _, value in sorted(trial.intermediate_values.items()) if math.isfinite(value)]
    if figure is None and reported:
        figure = reported[-1]
    seconds = None if trial.duration is None else round(trial.duration.total_seconds(), 2)
    note = str(trial.user_attrs.get("note", ""))
    if not note and "continues" in trial.user_attrs:
        note = f"goes on with trial {first_number(trial)}"
    folder = trial.user_attrs.get("folder")
    return Found(
        number=trial.number,
        state=_WORDS[trial.state.name],
        figure=figure,
        values=dict(trial.params),
        evaluations=len(trial.intermediate_values),
        seconds=seconds,
        folder=None if folder is None else str(folder),
        note=note,
    )


def found_in(study: Any, figure: str, higher: bool, interrupted: bool = False) -> Search:
    """All that a study holds."""
    trials = study.get_trials(deepcopy=False)
    last = {first_number(trial): trial.number for trial in trials}  # of several, the last one counts
    found = [found_of(trial) for trial in trials]
    for place, trial in enumerate(trials):
        if found[place].state == FAILED and last[first_number(trial)] > trial.number:
            found[place] = replace(found[place], state=HALF_DONE)
    return Search(study, figure, higher, found, interrupted)


def same_as_before(study: Any, said: Mapping[str, Any], labels: Mapping[str, str], another: str) -> None:
    """Raise unless a study that is there was begun with the same settings; those of a new one are written down.

    Parameters
    ----------
    said : what must be the same, JSON-able, by names.
    labels : how a name is called in messages.
    another : what to give for a new study.
    """
    before = study.user_attrs.get("bptt")
    if before is None or all(trial.state.name == "FAIL" for trial in study.get_trials(deepcopy=False)):
        study.set_user_attr("bptt", dict(said))
        return
    for name in sorted(said.keys() | before.keys()):
        if before.get(name) != said.get(name):
            hint = f"leave the change out, or begin a study with {another}"
            was, now = (one_line(part.get(name), 120) for part in (before, said))
            raise bad_input(labels.get(name, name), f"{was}, as the study {study.study_name!r} has it", now, hint)
