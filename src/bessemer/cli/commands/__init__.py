"""One module per command, each with a function `command`; imported when the command is asked for."""
