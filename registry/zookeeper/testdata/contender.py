"""A Python publisher's lock, by kazoo, as the old KingPin takes it: one word per line on stdin, one answer per line on stdout.

try      take it without waiting: held, or busy
wait     take it, however long that takes: held
list     how many are in the queue
free     give it back: free
set X    publish without a look at what is there: set
"""
import sys

from kazoo.client import KazooClient

hosts, path = sys.argv[1:]
client = KazooClient(hosts=hosts)
client.start()
lock = client.Lock(path + '.lock')
print('ready', flush=True)
for line in sys.stdin:
    word, _, rest = line.strip().partition(' ')
    if word == 'try':
        answer = 'held' if lock.acquire(blocking=False) else 'busy'
    elif word == 'wait':
        lock.acquire()
        answer = 'held'
    elif word == 'list':
        answer = '%d' % len(client.get_children(path + '.lock'))
    elif word == 'free':
        lock.release()
        answer = 'free'
    elif word == 'set':
        client.set(path, rest.encode())
        answer = 'set'
    print(answer, flush=True)
client.stop()
