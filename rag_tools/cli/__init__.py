"""The command line: `main` lists the commands; `show` and `output` write what they print."""
