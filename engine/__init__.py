"""The engine: the commands, and the networks, optimisers, training and views beneath them."""
