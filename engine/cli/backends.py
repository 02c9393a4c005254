"""``bptt backends``: which backends can be used here, and why the others cannot."""

from __future__ import annotations

from typing import Any

import click

from engine.cli.common import json_option, print_json, print_table


@click.command(short_help="List what can compute here.")
@json_option
def backends(as_json: bool) -> None:
    """List the array backends and their kernels; for one that cannot be used, the reason."""
    import engine
    from engine.backend import KERNELS
    from engine.errors import BackendUnavailableError

    found: dict[str, dict[str, Any]] = {}
    for name, reason in engine.available_backends().items():
        kernels: dict[str, str | None] = {}
        device = None
        for kernel in KERNELS[name]:
            try:
                device = engine.get_backend(name, kernels=kernel).device
                kernels[kernel] = None
            except BackendUnavailableError as error:
                kernels[kernel] = reason or str(error)
        found[name] = {"usable": reason is None, "reason": reason, "device": device, "kernels": kernels}
    if as_json:
        print_json(found)
        return
    rows = [
        (f"{name}:{kernel}", "usable" if why is None else "not usable", str(entry["device"]) if why is None else why)
        for name, entry in found.items()
        for kernel, why in entry["kernels"].items()
    ]
    print_table(("backend", "", "device, or reason"), rows)
