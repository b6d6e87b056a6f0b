"""The command ``pyrun``: one file per verb, :mod:`pyrun_runtime.cli.main` finds them."""

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal as signals
else:
    import _signal as signals  # the built-in part: the module signal makes enums, which costs 5 ms

# Ctrl-C during the imports to come would be a traceback. Until a verb has something to undo, it just ends the command, as
# it would any other; whoever has installed a handler of his own keeps it.
if signals.getsignal(signals.SIGINT) is signals.default_int_handler:
    try:
        signals.signal(signals.SIGINT, signals.SIG_DFL)
    except ValueError:  # not the main thread: then this is no command
        pass
