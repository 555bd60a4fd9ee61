"""The one kind of error a user can cause in this room."""


class EngineError(ValueError):
    """A setting the engine can't work with: one line that says what came, what is allowed, what to do."""
