"""The command line: `main` holds the commands, `show` and `output` what they print."""
