"""Calls the service of test_service.thrift, wherever it is: it finds the servers in the mount.

    thrift --gen py -out /tmp/py test_service.thrift
    PYTHONPATH=/tmp/py python3 client.py discovery.test_service.prod
"""
import os
import random
import sys

from thrift.protocol.TBinaryProtocol import TBinaryProtocol
from thrift.transport.TSocket import TSocket
from thrift.transport.TTransport import TBufferedTransport

from test_service import TestService

mount = os.environ.get("KINGPIN_MOUNT", "/var/kingpin")
with open(os.path.join(mount, "serverset", sys.argv[1])) as file:
    host, port = random.choice(file.read().split()).rsplit(":", 1)
transport = TBufferedTransport(TSocket(host.strip("[]"), int(port)))
transport.open()
print(TestService.Client(TBinaryProtocol(transport)).ping())
transport.close()
