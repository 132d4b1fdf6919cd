"""Sources that aren't files of this machine: pages of the web, and git repositories.

Everything from there has limits, and no address of a private network is connected to unless the
caller allows it.
"""
