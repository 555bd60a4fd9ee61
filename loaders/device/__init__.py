"""The device executor: draws, moves, photo ops and covers in batched torch that never waits for the device."""
