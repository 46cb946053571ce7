"""The way into the command `microscopiq`.

Exit codes: 0 ok, 2 the user's mistake (any `MicroscopiqError`, an output that can't be written),
3 an internal error, 130 Ctrl-C, 141 a reader of the output that went away. Hardly anything is
imported here: imports take seconds, and Ctrl-C meanwhile shall print no traceback.
"""

import sys

from .interrupts import leave_at_once, leaving


def main(arguments: list[str] | None = None) -> None:
    """Run the command line and exit.

    Parameters
    ----------
    arguments : list of str, optional
        Those of this process unless given; its streams and signals are then the command's, too.
    """
    with leaving():
        from .app import app
        from .failures import exit_code, one_line_warnings
        from .streams import finish, set_up

    one_line_warnings()
    if arguments is None:
        set_up()
    try:
        app(args=arguments, prog_name="microscopiq")
        code = 0
    except BaseException as error:
        code = exit_code(error)
    code = finish(code)
    if arguments is None:
        leave_at_once()
    sys.exit(code)
