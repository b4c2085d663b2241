"""Two writers at once, who change a file in place: both.py FILE FILE"""
import os
import sys

first, second = (os.open(path, os.O_RDWR) for path in sys.argv[1:])
os.pwrite(first, b"O", 0)
os.pwrite(second, b"0", 0)
os.close(first)
os.close(second)
