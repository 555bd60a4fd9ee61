"""What a device's kernels do of a policy, and what batched torch does instead. Imports neither torch nor Triton."""

from loaders.kernels.available import obstacle
from loaders.kernels.runs import MOST_PIXELS, Run, runs_of
from loaders.policy.policy import Policy


def describe(policy: Policy, device_type: str) -> list[str]:
    """Lines on a device's augmentation: its kernels in order, and what runs as batched torch, and why."""
    if not policy.passes:
        return []
    if why := obstacle(device_type):
        return [f"no kernels ({why}): batched torch, slower"]
    lines = []
    for number, run in enumerate(runs_of(policy), 1):
        if isinstance(run, Run):
            lines.append(f"kernel {number}: {', '.join(step.op.opcode for step in run.steps)}")
        else:
            pass_ = policy.passes[run]
            lines.append(f"no kernel {number}: {pass_.ops[0].opcode} reads whole images, and {pass_.in_width}x"
                         f"{pass_.in_height} px exceed {MOST_PIXELS:,} pixels: batched torch, slower")
    return lines
