"""python3-watchdog: watchdog_file.py modified|closed FILE"""
import os
import sys

from watchdog.events import FileSystemEventHandler
from watchdog.observers import Observer

event, path = sys.argv[1:]


class Reload(FileSystemEventHandler):
    def reload(self, e):
        if e.src_path == path and not e.is_directory:
            with open(path) as f:
                print(f.read().strip(), flush=True)

    if event == "modified":
        on_modified = reload
    else:
        on_closed = reload


observer = Observer()
observer.schedule(Reload(), os.path.dirname(path))
observer.start()
print("ready", file=sys.stderr, flush=True)
observer.join()
