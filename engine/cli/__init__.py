"""The command ``bptt``: a file a command, each thin; what they do lives on the floors below.

Exit codes: 0 success, also after Ctrl-C (the state is saved then); 2 bad usage or bad input, with one line on standard
error; 1 when the thing itself fails, such as a gradient check that does not pass or a disk that fills up.
"""

from __future__ import annotations

import contextlib
import os
import sys

# One BLAS thread unless the user says otherwise: the products of the plain kernels are small, and where a core is busy
# with something else, two threads mostly wait for each other (a step then took 20 times as long).  NumPy's BLAS reads
# this when NumPy is loaded, so it stands before the imports.  OMP_NUM_THREADS is left alone: the compiled kernels read
# it too, and they are the faster for every core (docs/threads.md).
for _variable in ("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "BLIS_NUM_THREADS", "VECLIB_MAXIMUM_THREADS"):
    os.environ.setdefault(_variable, "1")

import click

import engine
from engine.cli.backends import backends
from engine.cli.bench import bench
from engine.cli.compare import compare
from engine.cli.evaluate import evaluate
from engine.cli.gradcheck import gradcheck
from engine.cli.predict import predict
from engine.cli.sample import sample
from engine.cli.train import train
from engine.cli.warmup import warmup
from engine.errors import BackendUnavailableError, EngineError, InputError

SUCCESS, FAILURE, BAD_INPUT, INTERRUPTED = 0, 1, 2, 130


@click.group(context_settings={"help_option_names": ["-h", "--help"]}, invoke_without_command=True)
@click.version_option(engine.__version__, prog_name="bptt")
@click.pass_context
def bptt(context: click.Context) -> None:
    """Train, check and look into recurrent networks with hand-written backpropagation through time.

    The shortest way in: `bptt train` learns the manual that every Python carries, `bptt sample` writes in its style.
    """
    if context.invoked_subcommand is None:
        click.echo(context.get_help())


for _command in (train, sample, evaluate, predict, gradcheck, compare, bench, backends, warmup):
    bptt.add_command(_command)


def main() -> None:
    """Run the command line and leave with its exit code: the console script."""
    # The text of a model may hold characters that a terminal's encoding has not.
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")
    sys.exit(run(sys.argv[1:]))


def run(args: list[str]) -> int:
    """Run the command line; returns the exit code.  Every foreseen error is one line on standard error."""
    try:
        engine.get_num_threads()  # what the environment says of it is checked before anything is read or written
        code = bptt.main(args=args, prog_name="bptt", standalone_mode=False)
        if sys.stdout is not None:
            sys.stdout.flush()
        return code if isinstance(code, int) else SUCCESS
    except click.ClickException as error:
        path = error.ctx.command_path if isinstance(error, click.UsageError) and error.ctx else "bptt"
        return _complain(f"{path}: {error.format_message()} (see '{path} --help')", BAD_INPUT)
    except (InputError, BackendUnavailableError) as error:
        return _complain(f"bptt: {error}", BAD_INPUT)
    except EngineError as error:
        return _complain(f"bptt: {error}", FAILURE)
    except MemoryError as error:
        return _complain(f"bptt: expected enough memory, got too little ({error}); lower --hidden or --batch", FAILURE)
    except BrokenPipeError:
        # The reader has gone (`bptt sample | head`): nobody is left to complain to, not even at interpreter exit.
        with contextlib.suppress(OSError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILURE
    except OSError as error:
        with contextlib.suppress(OSError):  # nor at interpreter exit
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return _complain(f"bptt: expected to write the output, got '{error.strerror or error}'", FAILURE)
    except (KeyboardInterrupt, click.Abort):
        return _complain("bptt: interrupted", INTERRUPTED)


def _complain(message: str, code: int) -> int:
    print(" ".join(message.split()), file=sys.stderr, flush=True)
    return code


__all__ = ["bptt", "main", "run"]
