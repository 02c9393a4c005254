"""The command ``bptt``: one short file for each command; the work is done on the floors below.

Exit codes: 0 success, also for a training that Ctrl-C, SIGTERM or SIGHUP ends (the state is saved then); 2 bad usage or
bad input, with one line on standard error; 1 when the thing itself fails, such as a gradient check that does not pass,
a disk that fills up, or results that cannot be written; 130 for any other command that Ctrl-C ends.
"""

from __future__ import annotations

import contextlib
import os
import sys

# One BLAS thread unless the user says otherwise.  The products of the plain kernels are small, and if other programs
# use the cores, two threads mostly wait for each other (a step then took 20 times as long).  NumPy's BLAS reads this
# when NumPy is loaded, so it stands before the imports.  OMP_NUM_THREADS is left alone: the compiled kernels read it
# too, and more cores make them faster (docs/threads.md).
for _variable in ("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "BLIS_NUM_THREADS", "VECLIB_MAXIMUM_THREADS"):
    os.environ.setdefault(_variable, "1")

import click

import engine
from engine.cli.backends import backends
from engine.cli.bench import bench
from engine.cli.common import Commands, in_options, plain_numbers
from engine.cli.compare import compare
from engine.cli.evaluate import evaluate
from engine.cli.exercise import exercise
from engine.cli.explore import explore
from engine.cli.export import export
from engine.cli.gradcheck import gradcheck
from engine.cli.notebooks import notebooks
from engine.cli.predict import predict
from engine.cli.prepare import prepare
from engine.cli.puzzle import puzzle
from engine.cli.sample import sample
from engine.cli.study import study
from engine.cli.trace import trace
from engine.cli.train import TrainCommand, train
from engine.cli.tune import tune
from engine.cli.warmup import warmup
from engine.errors import BackendUnavailableError, EngineError, InputError, RankError, one_line
from engine.streams import Forgiving, Watched, open_closed, silence_stdout
from engine.training.team import launched_as

SUCCESS, FAILURE, BAD_INPUT, INTERRUPTED = 0, 1, 2, 130


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]}, invoke_without_command=True)
@click.version_option(engine.__version__, prog_name="bptt")
@click.pass_context
def bptt(context: click.Context) -> None:
    """Train, check and look into recurrent networks with hand-written backpropagation through time.

    The shortest way in: `bptt train` learns the manual that every Python carries, `bptt sample` writes in its style.
    """
    if context.invoked_subcommand is None:
        click.echo(context.get_help())


for _command in (
    train,
    prepare,
    tune,
    sample,
    evaluate,
    predict,
    export,
    gradcheck,
    trace,
    explore,
    puzzle,
    exercise,
    compare,
    bench,
    study,
    backends,
    warmup,
    notebooks,
):
    bptt.add_command(plain_numbers(_command))


def main() -> None:
    """Run the command line and leave with its exit code."""
    open_closed()
    # The text of a model may hold characters that a terminal's encoding lacks.
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")
    sys.stdout, sys.stderr = Watched(sys.stdout), Forgiving(sys.stderr)
    sys.exit(run(sys.argv[1:]))


def run(args: list[str]) -> int:
    """Run the command line; returns the exit code.  Every foreseen error is one line on standard error."""
    try:
        engine.get_num_threads()  # what the environment says of it is checked before anything is read or written
        code = bptt.main(args=args, prog_name="bptt", standalone_mode=False)
        sys.stdout.flush()
        return code if isinstance(code, int) else SUCCESS
    except click.ClickException as error:
        if launched_as():
            return BAD_INPUT
        path = error.ctx.command_path if isinstance(error, click.UsageError) and error.ctx else "bptt"
        return _complain(f"{path}: {error.format_message()} (see '{path} --help')", BAD_INPUT)
    except RankError as error:  # that other process says it
        return error.code
    except (InputError, BackendUnavailableError) as error:
        return _complain(f"bptt: {in_options(error, _command_of(args))}", BAD_INPUT)
    except EngineError as error:
        return _complain(f"bptt: {error}", FAILURE)
    except MemoryError as error:
        return _complain(f"bptt: expected enough memory, got too little ({error}); lower --hidden or --batch", FAILURE)
    except OSError as error:
        return _failed_stream() or _complain(f"bptt: {_failed_file(error)}", FAILURE)
    except (KeyboardInterrupt, click.Abort):
        return _complain("bptt: interrupted", INTERRUPTED)


def _command_of(args: list[str]) -> click.Command | None:
    """The command that was run, with the options that its arguments give it."""
    command = bptt.commands.get(next(iter(args), ""))
    if isinstance(command, TrainCommand):
        with contextlib.suppress(EngineError):
            return command.for_args(args[1:])
    return command


def _failed_stream() -> int | None:
    """The exit code if standard output could not be written to; None if the error has another cause."""
    error = getattr(sys.stdout, "error", None)
    if error is None:
        return None
    silence_stdout()
    if isinstance(error, BrokenPipeError):  # the reader has gone (`bptt sample | head`): nobody is left to complain to
        return FAILURE
    reason = error.strerror or error
    return _complain(f"bptt: standard output: expected to write the results, got '{reason}'", FAILURE)


def _failed_file(error: OSError) -> str:
    """The message for a file that was being read; a failed write is reported by the code that writes."""
    name = "a file" if error.filename is None else os.fspath(error.filename)
    return f"{name}: expected a file that can be read, got '{error.strerror or error}'"


def _complain(message: str, code: int) -> int:
    print(one_line(message, 1200), file=sys.stderr, flush=True)
    return code


__all__ = ["bptt", "main", "run"]
