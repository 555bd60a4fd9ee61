"""The device executor: draws, moves, photo ops and covers as batched torch that never waits for the device."""
