"""Why a function stays on the host."""


class Refused(Exception):
    """What the vector unit can't do of a function; the text is the reason that users read."""
