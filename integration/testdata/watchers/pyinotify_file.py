"""python3-pyinotify: pyinotify_file.py FILE"""
import sys

import pyinotify

path = sys.argv[1]


def reload(event):
    with open(path) as f:
        print(f.read().strip(), flush=True)


manager = pyinotify.WatchManager()
manager.add_watch(path, pyinotify.IN_CLOSE_WRITE, reload)
print("ready", file=sys.stderr, flush=True)
pyinotify.Notifier(manager).loop()
