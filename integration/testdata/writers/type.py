"""Runs a program at a terminal and types into it: type.py WORD KEYS PROGRAM [ARG...]

Nothing is typed before WORD is on the screen: a program forgets what was typed before it has set up its terminal.
"""
import os
import pty
import sys

word, keys, program = sys.argv[1].encode(), sys.argv[2].encode().decode("unicode_escape").encode(), sys.argv[3:]
pid, terminal = pty.fork()
if pid == 0:
    os.environ["TERM"] = "xterm"
    os.execvp(program[0], program)
screen = b""
while True:
    try:
        shown = os.read(terminal, 4096)
    except OSError:  # the program has ended
        break
    screen += shown
    if keys and word in screen:
        os.write(terminal, keys)
        keys = b""
sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
