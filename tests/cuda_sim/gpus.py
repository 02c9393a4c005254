"""GPUs that the planner is tried for."""

from __future__ import annotations

from kernels.cuda.launches import Device

A100 = Device("A100", 108, 166912, compute_capability=(8, 0))
H100 = Device("H100", 132, 232448, compute_capability=(9, 0))
H200 = Device("H200", 132, 232448, compute_capability=(9, 0))
RTX_4090 = Device("RTX 4090", 128, 101376, compute_capability=(8, 9))
LAPTOP = Device("RTX 3050 laptop", 16, 101376, compute_capability=(8, 6))
