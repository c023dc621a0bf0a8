"""What would a rollout policy do? Simulated traffic, judged by the code that judges real rollouts.

`world` makes requests and their failures, `policy` is what `spec.rollout` says, `rollout` runs many rollouts at once
through `core`, `summary` reports what came out. Behind `headgate simulate` and `make calibration`.
"""
