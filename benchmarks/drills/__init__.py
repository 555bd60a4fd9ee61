"""The faults benchmark's attacks on runs, betons and checkpoints: kills, damage, full disks, fuzzing."""
