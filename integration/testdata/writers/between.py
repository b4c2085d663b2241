"""Opens a file, lets a server go away, and only then writes: between.py SERVER FILE"""
import os
import sys

with open(sys.argv[2], "w") as file:
    os.write(3, sys.argv[1].encode() + b"\n")
    os.read(4, 1)
    file.write("two\n")
