"""A stand-in for the Python KingPin, by kazoo and boto3: the parts of it that a fleet of two systems meets.

old_kingpin.py COMMAND [ARG...], with ZK_HOSTS, S3_ENDPOINT, S3_BUCKET and AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY set.

dump                   every znode and every object, versions replaced by names
burn N                 use up zxids
set PATH DATA          a znode, as an operator would with a shell
create PATH            a znode with those above it
append PATH FILE WHO   ManagedList.add in a process whose monitor keeps FILE: adds WHO-1, WHO-2, ... until stdin is closed, and
                       prints each as it is published, or JSON about why it was refused
join PATH ENDPOINT     zk_register: a member of a serverset, until stdin is closed or the process is killed
follow PATH FILE       the daemon, which downloads what the znode points to, and an application, which polls FILE, until stdin
                       is closed; prints JSON about what they saw

What the old code did is kept where it matters: the order of the steps, the lock that is tried once, the comparison of bytes, the
set that looks at no version, the slashes and dots of keys, the token of two decimals, and mtime as the version of a file.
"""
import collections
import json
import os
import random
import re
import sys
import threading
import time

from kazoo.client import KazooClient

BUCKET = os.environ['S3_BUCKET']


def zookeeper(**options):
    client = KazooClient(hosts=os.environ['ZK_HOSTS'], **options)
    client.start(timeout=25)
    return client


def s3():
    import boto3  # takes as long as all the rest, and half of the commands do without
    from botocore.config import Config
    return boto3.client('s3', endpoint_url=os.environ['S3_ENDPOINT'], region_name='us-east-1',
                        config=Config(s3={'addressing_style': 'path'}, retries={'max_attempts': 6}))


def key_of(path, token=None):
    """Every dot becomes a slash, and the leading slash does not survive boto."""
    name = '/data' + path + ('' if token is None else '_' + token)
    return name.replace('.', '/').lstrip('/')


def token_now():
    """str(float) of Python 2."""
    text = '%.12g' % time.time()
    return text if '.' in text else text + '.0'


def download(bucket, path, token):
    import botocore.exceptions
    key = key_of(path, token)
    try:
        bucket.head_object(Bucket=BUCKET, Key=key)
        return bucket.get_object(Bucket=BUCKET, Key=key)['Body'].read()
    except botocore.exceptions.ClientError as error:
        if error.response['Error']['Code'] in ('404', 'NoSuchKey'):
            raise ValueError('404 keyname not found')
        raise


def upload(bucket, key, body):
    import botocore.exceptions
    try:
        bucket.head_object(Bucket=BUCKET, Key=key)
    except botocore.exceptions.ClientError:
        pass
    bucket.put_object(Bucket=BUCKET, Key=key, Body=body, ContentType='application/octet-stream')


class Refused(Exception):
    pass


def update_zk(client, bucket, path, old_value, value):
    """ZKBaseConfigManager.update_zk without force_update."""
    client.ensure_path(path)
    lock = client.Lock(path + '.lock')
    if not lock.acquire(blocking=False):
        raise Refused({'locked': True})
    try:
        token = (client.get(path)[0] or b'').decode()
        if token:
            present = download(bucket, path, token)
            if present != old_value:
                raise Refused({'old': old_value.decode(), 's3': present.decode()})
        token = token_now()
        upload(bucket, key_of(path, token), value)
        upload(bucket, key_of(path), token.encode())
        client.set(path, token.encode())
    finally:
        lock.release()


class ManagedList:
    """The read side: a file whose mtime has not grown is not looked at."""

    def __init__(self, path):
        self.path, self.version, self.text, self.values = path, 0, '', []

    def reload(self):
        mtime = os.path.getmtime(self.path)
        if self.version >= mtime:
            return False
        with open(self.path) as f:
            self.text = f.read()
        self.version = mtime
        self.values = json.loads(self.text) if self.text else []
        return True


def append(path, file, who):
    client, bucket, local = zookeeper(), s3(), ManagedList(file)
    over = until_closed()
    print('ready', flush=True)
    count = 1
    while not over.is_set():
        began = time.monotonic()
        local.reload()
        item = '%s-%d' % (who, count)
        old, new = json.dumps(local.values).encode(), json.dumps(local.values + [item]).encode()
        try:
            update_zk(client, bucket, path, old, new)
        except Refused as refusal:
            print(json.dumps(refusal.args[0]), flush=True)
            over.wait(random.uniform(0.005, 0.02))
            continue
        print(item, flush=True)
        count += 1
        over.wait(max(random.uniform(0.02, 0.06), time.monotonic() - began))  # half of the time is for others
    client.stop()


def follow(path, file):
    client, bucket, local = zookeeper(), s3(), ManagedList(file)
    over = until_closed()
    seen = {'downloads': 0, 'lost': [], 'backwards': 0, 'daemon': [], 'polls': 0, 'same_mtime': [], 'application': []}
    handled = [None]

    def fetch(token):
        if not token:
            return
        try:
            values = json.loads(download(bucket, path, token))
        except ValueError as error:
            seen['lost'].append('%s: %s' % (token, error))
            return
        seen['downloads'] += 1
        if len(values) < len(seen['daemon']):
            seen['backwards'] += 1
        seen['daemon'] = values

    @client.DataWatch(path)
    def changed(data, _):
        fetch(data.decode() if data else '')
        handled[0] = data

    print('ready', flush=True)
    last = b''
    while not over.wait(0.003):
        before = os.path.getmtime(file)
        with open(file, 'rb') as f:
            content = f.read()
            after = os.fstat(f.fileno()).st_mtime
        if content != last and after == before:
            if not local.reload() and local.text.encode() != content:
                seen['same_mtime'].append(repr(before))
            last = content
            seen['polls'] += 1
    patience = time.monotonic() + 60
    while handled[0] != client.get(path)[0] and time.monotonic() < patience:  # the last event is on its way
        time.sleep(0.01)
    local.reload()
    seen['application'] = local.values
    client.stop()
    print(json.dumps(seen), flush=True)


def until_closed():
    over = threading.Event()

    def wait():
        sys.stdin.read()
        over.set()
    threading.Thread(target=wait, daemon=True).start()
    return over


def dump():
    client, bucket = zookeeper(), s3()
    nodes, objects, names = [], [], collections.OrderedDict()

    def named(text):
        """A version is called by the order in which it is first met, and SPLIT where its dot is a slash."""
        def name(found):
            version = found.group(0)
            name = names.setdefault(version.replace('/', '.'), 'VERSION%d' % (len(names) + 1))
            return name + ('-SPLIT' if '/' in version else '')
        return re.sub(r'(?<!\d)\d{10}[./]\d{1,9}(?!\d)', name, text)

    def walk(path):
        data, stat = client.get(path)
        acls, _ = client.get_acls(path)
        acl = ','.join('%s:%s=%d' % (a.id.scheme, a.id.id, a.perms) for a in acls)
        shown = 'NULL' if data is None else repr(data)
        if path not in ('/', '/zookeeper'):
            nodes.append('znode %s  data=%s ephemeral=%s version=%d acl=%s' % (
                path, shown, stat.ephemeralOwner != 0, stat.version, acl))
        for child in sorted(client.get_children(path)):
            if child != 'zookeeper':
                walk(path.rstrip('/') + '/' + child)
    walk('/')
    for page in bucket.get_paginator('list_objects_v2').paginate(Bucket=BUCKET):
        for entry in page.get('Contents', []):
            if entry['Key'].endswith('/'):
                continue
            found = bucket.get_object(Bucket=BUCKET, Key=entry['Key'])
            objects.append('s3    key=%r body=%r content-type=%s' % (entry['Key'], found['Body'].read(), found['ContentType']))
    for line in nodes + sorted(objects):
        print(named(line))
    client.stop()


def join(path, endpoint):
    """Its session is shorter than the old one's 16 s, for whoever waits for its end, and longer than a busy machine stands still."""
    client = zookeeper(timeout=8)
    over = until_closed()
    client.ShallowParty(path, identifier=endpoint).join()
    print('ready', flush=True)
    over.wait()
    client.stop()


def put(path, data):
    client = zookeeper()
    client.set(path, data.encode())
    client.stop()


def create(path):
    client = zookeeper()
    client.ensure_path(path)
    client.stop()


def burn(count):
    """Uses up zxids."""
    client = zookeeper()
    for _ in range(int(count)):
        client.create('/burnt', ephemeral=True)
        client.delete('/burnt')
    client.stop()


if __name__ == '__main__':
    command = sys.argv[1]
    {'dump': dump, 'set': put, 'create': create, 'append': append, 'join': join, 'follow': follow, 'burn': burn}[command](*sys.argv[2:])
