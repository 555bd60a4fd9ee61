"""Reads the platform's name once, which starts `uname`, so that tests that write rows start no process."""

import platform

platform.platform()
