"""``python -m engine``: the command ``bptt``; alone, the version, what can compute here, and what to do next."""

from __future__ import annotations

import sys

from bptt_engine.command import main


def welcome() -> str:
    """Version, backends with their kernels, and next steps, as one text."""
    import engine
    from engine.backend import KERNELS
    from engine.errors import BackendUnavailableError

    lines = [f"bptt-engine {engine.__version__}", "", "What can compute here:"]
    for name, reason in engine.available_backends().items():
        for kernel in KERNELS[name]:
            why = reason
            try:
                device = engine.get_backend(name, kernel).device
            except BackendUnavailableError as error:
                device, why = "", reason or str(error)
            lines.append(f"  {name}:{kernel:<{18 - len(name)}}{device if why is None else f'no: {why}'}")
    steps = {
        "bptt explore": "open a page with every gate, state and gradient of a run",
        "bptt puzzle": "find a planted bug in a backward pass",
        "bptt gradcheck --cell lstm": "check every gradient of the LSTM",
        "bptt notebooks": "copy the notebooks out; the first needs only a pencil",
        "bptt train --minutes 2 --out runs/first": "train a character model",
        "bptt --help": "all commands",
    }
    width = max(map(len, steps))
    lines += ["", "Next:", *(f"  {command:<{width}}   {words}" for command, words in steps.items())]
    return "\n".join(lines)


if __name__ == "__main__":
    if len(sys.argv) == 1:
        print(welcome())
    else:
        main()
