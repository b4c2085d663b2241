"""KingPin's deciders and managed data for Python 3: one file, the standard library alone. Copy it.

    from kingpin import Decider, ManagedList
    ranker = Decider()
    if ranker.is_id_in_experiment(user_id, "new_ranker"): ...
    if ManagedList("spam", "blacklist").contains(address): ...

The classes have the names and the reading methods of the old kingpin package. They read files of the mount, $KINGPIN_MOUNT or /var/kingpin,
and hear of changes by inotify; a file that is missing is waited for, and one that is broken keeps its last good value. That goes on in a
process that was forked. To publish, write the file: open("/var/kingpin/decider/new_ranker", "w").write("42\\n").
"""

import ctypes
import hashlib
import json
import math
import os
import random
import select
import struct
import sys
import threading
import traceback

MOUNT = os.environ.get("KINGPIN_MOUNT", "/var/kingpin")
POLL = 10.0  # seconds between looks that no event asked for

_EVENTS = 0x8 | 0x80 | 0x200  # IN_CLOSE_WRITE, which the mount raises when a version can be read, IN_MOVED_TO, IN_DELETE
_UNWATCHED = 0x8000  # IN_IGNORED: the file system of the watch is gone
_libc = ctypes.CDLL(None, use_errno=True)


class _Directory(threading.Thread):
    """One inotify watch and one thread for all files of a directory."""

    _all, _lock = {}, threading.Lock()

    def __init__(self, path):
        super().__init__(daemon=True, name="kingpin " + path)
        self.path, self.files = path, {}
        self.open()

    def open(self):
        self.inotify = _libc.inotify_init1(os.O_CLOEXEC | os.O_NONBLOCK)  # -1: too many; then there is the poll
        self.start()

    @classmethod
    def forked(cls):
        """A child has no thread but its own, and must not take events from its parent."""
        cls._lock, old, cls._all = threading.Lock(), cls._all, {}
        for path, before in old.items():
            cls._all[path] = directory = cls.__new__(cls)
            threading.Thread.__init__(directory, daemon=True, name=before.name)
            directory.path, directory.files = path, before.files
            if before.inotify >= 0:
                os.close(before.inotify)
            directory.open()

    @classmethod
    def file(cls, path):
        directory, name = os.path.split(path)
        with cls._lock:
            if directory not in cls._all:
                cls._all[directory] = cls(directory)
            files = cls._all[directory].files
            if name not in files:
                files[name] = _File(path)
                files[name].look()
            return files[name]

    def run(self):
        watch, known = -1, None
        while True:
            try:
                there = os.stat(self.path)
                if (there.st_dev, there.st_ino) != known:  # the first time, or another directory: a mount has come or gone
                    if watch >= 0:
                        _libc.inotify_rm_watch(self.inotify, watch)
                    watch = _libc.inotify_add_watch(self.inotify, os.fsencode(self.path), _EVENTS)
                    known = (there.st_dev, there.st_ino)
            except OSError:
                known = None
            for file in list(self.files.values()):
                file.look()
            wait = POLL if watch >= 0 and known else 1.0
            if self.inotify < 0:
                threading.Event().wait(wait)
            elif select.select([self.inotify], [], [], wait)[0]:
                data, at = os.read(self.inotify, 65536), 0
                while at < len(data):
                    _, mask, _, length = struct.unpack_from("iIII", data, at)
                    name = os.fsdecode(data[at + 16:at + 16 + length].rstrip(b"\0"))
                    at += 16 + length
                    if mask & _UNWATCHED:
                        watch, known = -1, None
                    elif name in self.files:
                        self.files[name].look(force=True)


os.register_at_fork(after_in_child=_Directory.forked)


class _File:
    """The last good value of one file, for every kind of data that is read from it."""

    def __init__(self, path):
        self.path, self.content, self.known, self.error, self.readers = path, None, None, None, []

    def look(self, force=False):
        try:
            now = os.stat(self.path)
            known = (now.st_ino, now.st_size, now.st_mtime_ns)
            if known == self.known and not force:
                return
            with open(self.path, "rb") as file:
                content = file.read()
        except OSError as error:
            self.known, self.error = None, error
            return
        self.known = known
        if content != self.content:
            self.content = content
            for reader in self.readers:
                reader._read(content)


class _Data:
    """What the old classes have in common. Everything but domain and key is ignored: name, description, zk_hosts, ..."""

    def __init__(self, domain, key, *_, update_callback=None, **__):
        self.domain, self.key, self._callback, self.error = domain.lower(), key.lower(), update_callback, None
        self._value = self._empty()
        name = "config.manageddata.%s.%s" % (self.domain, self.key)
        self._file = _Directory.file(os.path.join(MOUNT, "config", name))
        self._file.readers.append(self)
        if self._file.content is not None:
            self._read(self._file.content)

    def _read(self, content):
        try:
            value = self._parse(content)
        except (ValueError, RecursionError) as error:  # the last good value stays
            self.error = error
            return
        self._value, self.error = value, None
        if self._callback:
            try:
                self._callback(value)
            except Exception:  # what is wrong with one of them is no reason to end the thread of all
                traceback.print_exc()

    def _parse(self, content):
        value = json.loads(content) if content.strip() else self._empty()
        if not isinstance(value, type(self._empty())):
            raise ValueError("%s is a %s" % (self._file.path, type(value).__name__))
        return value


class ManagedList(_Data):
    _empty = list

    def _parse(self, content):
        value = super()._parse(content)
        try:
            self._set = frozenset(value)
        except TypeError:  # items that are lists or maps
            self._set = value
        return value

    _set = frozenset()

    def get_list(self, start=0, end=-1):
        return self._value[start:] if end == -1 else self._value[start:end + 1]

    def get_shuffled_list(self):
        return random.sample(self._value, len(self._value))

    def get_set(self):
        return set(self._set)

    def contains(self, value):
        return value in self._set

    def count(self):
        return len(self._value)


class ManagedHashMap(_Data):
    _empty = dict

    def get(self, key):
        return self._value.get(key)

    def get_many(self, keys):
        return {key: self._value[key] for key in keys if key in self._value}

    def get_keys(self):
        return list(self._value)

    def get_all(self):
        return dict(self._value)

    def contains(self, key):
        return key in self._value


class ManagedMappedList(_Data):
    _empty = dict

    def get_all(self):
        return dict(self._value)

    def get_list(self, key):
        return list(self._value.get(key, ()))

    def contain_item(self, key, item):
        return item in self._value.get(key, ())

    def contain_items(self, key, items):
        return [item for item in items if self.contain_item(key, item)]


class ManagedJsonConfig(_Data):
    _empty = str

    def _parse(self, content):
        return content.decode()

    def get_json_config(self):
        return self._value


class ManagedJsonSerializableDataConfig(_Data):
    def _empty(self):
        return None

    def _parse(self, content):
        return json.loads(content) if content.strip() else None

    def get_data(self):
        return self._value


def bucket(name, key):
    """The bucket of a key, 0 to 99, the same in every language."""
    return int(hashlib.md5(("decider_" + name + str(key)).encode()).hexdigest(), 16) % 100


class Decider:
    """Gates of 0 to 100 percent. Asking never fails: what is unknown has the default."""

    _map = None

    def initialize(self, *_, **__):
        """Nothing is to be initialized any more."""

    def get_decider_value(self, name, default=0):
        if Decider._map is None:
            Decider._map = ManagedHashMap("admin", "decider")
        value = Decider._map.get(name.lower())
        return value if isinstance(value, (int, float)) else default

    def decide_experiment(self, name, default=False):
        return random.randrange(100) < self.get_decider_value(name, 100 if default else 0)

    def is_id_in_experiment(self, id, name):
        return id % 100 < self.get_decider_value(name)

    def is_hashed_id_in_experiment(self, id, name):
        return bucket(name, id) < self.get_decider_value(name)


def _main(verb="", *args):
    if not args:
        sys.exit("usage: kingpin.py watch DECIDER DOMAIN KEY | bucket DECIDER KEY | id NUMBER")
    elif verb == "bucket":
        print(bucket(*args))
    elif verb == "id":
        print(int(args[0]) % 100)
    else:  # watch DECIDER DOMAIN KEY: a line at the start, and one at each change
        changed = threading.Event()
        told = lambda _: changed.set()
        Decider._map = ManagedHashMap("admin", "decider", update_callback=told)
        items, last = ManagedList(args[1], args[2], update_callback=told), None
        while True:
            line = "%d %s" % (math.ceil(Decider().get_decider_value(args[0])), ",".join(map(str, items.get_list())))
            if line != last:
                print(line, flush=True)
            last = line
            changed.wait()
            changed.clear()


if __name__ == "__main__":
    _main(*sys.argv[1:])
