"""The shell: Python and commands inside the running process, over SSH."""
