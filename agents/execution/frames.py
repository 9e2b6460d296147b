"""The frames that a failed call's exceptions hold."""


def forget_frames(error: BaseException | None) -> None:
    """Take them from an exception and from those that it came from.

    They hold in turn what holds the exceptions: only the collector would free such a cycle, and long after the call.
    """
    while error is not None and error.__traceback__ is not None:
        error.__traceback__ = None
        error = error.__cause__ or error.__context__
