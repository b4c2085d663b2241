"""inotify(7) by hand, on a directory: raw_inotify.py FILE"""
import ctypes
import os
import struct
import sys

IN_CLOSE_WRITE = 8
directory, name = os.path.split(sys.argv[1])
libc = ctypes.CDLL(None, use_errno=True)
fd = libc.inotify_init1(0)
if libc.inotify_add_watch(fd, directory.encode(), IN_CLOSE_WRITE) < 0:
    raise OSError(ctypes.get_errno(), "inotify_add_watch")
print("ready", file=sys.stderr, flush=True)
while True:
    events = os.read(fd, 4096)
    while events:
        length = struct.unpack_from("iIII", events)[3]
        if events[16 : 16 + length].rstrip(b"\0").decode() == name:
            with open(sys.argv[1]) as f:
                print(f.read().strip(), flush=True)
        events = events[16 + length :]
