"""What the faults benchmark does to runs, betons and checkpoints: kills, damage, full disks, fuzzing."""
