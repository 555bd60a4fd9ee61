"""Asks once for the platform's name, which starts `uname`: tests that write rows then start nothing."""

import platform

platform.platform()
