"""``tenon`` and ``python -m cli``: loads the command line so that Ctrl-C meanwhile ends it without a word."""

import importlib
import signal


def main() -> None:
    """Load the command line and run it."""
    # Python's own handler would show in the middle of which import it was. Who ignores SIGINT goes on doing so.
    handled = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if handled:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    command_line = importlib.import_module("cli.command_line")
    if handled:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    command_line.run()


if __name__ == "__main__":
    main()
