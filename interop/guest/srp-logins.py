"""Connections to an SRP target that are no initiator's: logins, and what only looks like one.

    srp-logins.py ADDRESS:PORT ID_EXT IOC_GUID KIND COUNT [INITIATOR]

KIND: login    logs in, has the answer, disconnects
      twice    the same, while an older session of the same initiator port is there, which has to end
      rival    logs in as the port INITIATOR (in hexadecimal), whose session it ends, and waits to be thrown out by it
      many     logs in by eight channels of one session
      noise    random private data: rejected
      strange  logins for another port, of reserved actions, in formats that there are not: rejected with a reason
      killed   a process that is killed at a random step of a login
      left     one that leaves after it, without disconnecting

Prints how many of each end there were.
"""

import collections
import ctypes as c
import os
import random
import signal
import socket
import struct
import sys
import time

ADDR_RESOLVED, ROUTE_RESOLVED, UNREACHABLE, REJECTED, ESTABLISHED, DISCONNECTED = 0, 2, 7, 8, 9, 10
PS_TCP, RC = 0x106, 2
LOGIN_RSP, LOGIN_REJ = 0xC0, 0xC2
SINGLE, MULTI = 0, 1


class Conn(c.Structure):
    """struct rdma_conn_param"""

    _fields_ = [
        ("private_data", c.c_void_p),
        ("private_data_len", c.c_uint8),
        ("responder_resources", c.c_uint8),
        ("initiator_depth", c.c_uint8),
        ("flow_control", c.c_uint8),
        ("retry_count", c.c_uint8),
        ("rnr_retry_count", c.c_uint8),
        ("srq", c.c_uint8),
        ("qp_num", c.c_uint32),
    ]


class Event(c.Structure):
    """struct rdma_cm_event"""

    _fields_ = [
        ("id", c.c_void_p),
        ("listen_id", c.c_void_p),
        ("event", c.c_uint),
        ("status", c.c_int),
        ("conn", Conn),
    ]


class QpInit(c.Structure):
    """struct ibv_qp_init_attr"""

    _fields_ = [
        ("qp_context", c.c_void_p),
        ("send_cq", c.c_void_p),
        ("recv_cq", c.c_void_p),
        ("srq", c.c_void_p),
        ("max_send_wr", c.c_uint32),
        ("max_recv_wr", c.c_uint32),
        ("max_send_sge", c.c_uint32),
        ("max_recv_sge", c.c_uint32),
        ("max_inline_data", c.c_uint32),
        ("qp_type", c.c_uint),
        ("sq_sig_all", c.c_int),
    ]


cm = c.CDLL("librdmacm.so.1", use_errno=True)
cm.rdma_create_event_channel.restype = c.c_void_p


def call(name, *args):
    if getattr(cm, name)(*args) != 0:
        raise OSError(c.get_errno(), name)


class Connection:
    """One that is to be."""

    def __init__(self, address):
        self.channel = c.c_void_p(cm.rdma_create_event_channel())
        self.id = c.c_void_p()
        self.qp = False
        call("rdma_create_id", self.channel, c.byref(self.id), None, PS_TCP)
        host, port = address.rsplit(":", 1)
        to = struct.pack("=H", socket.AF_INET) + struct.pack(">H", int(port)) + socket.inet_aton(host) + bytes(8)
        call("rdma_resolve_addr", self.id, None, c.create_string_buffer(to, 16), 5000)
        self.expect(ADDR_RESOLVED)
        call("rdma_resolve_route", self.id, 5000)
        self.expect(ROUTE_RESOLVED)
        attr = QpInit(max_send_wr=1, max_recv_wr=1, max_send_sge=1, max_recv_sge=1, qp_type=RC)
        call("rdma_create_qp", self.id, None, c.byref(attr))
        self.qp = True

    def event(self):
        """The next event, and its private data."""
        event = c.POINTER(Event)()
        call("rdma_get_cm_event", self.channel, c.byref(event))
        conn = event.contents.conn
        data = c.string_at(conn.private_data, conn.private_data_len) if conn.private_data else b""
        kind = event.contents.event
        call("rdma_ack_cm_event", event)
        return kind, data

    def expect(self, wanted):
        kind, _ = self.event()
        assert kind == wanted, f"event {kind} instead of {wanted}"

    def connect(self, private_data):
        data = c.create_string_buffer(private_data, max(len(private_data), 1))
        conn = Conn(
            private_data=c.cast(data, c.c_void_p),
            private_data_len=len(private_data),
            responder_resources=4,
            initiator_depth=4,
            retry_count=2,
            rnr_retry_count=7,
        )
        call("rdma_connect", self.id, c.byref(conn))

    def disconnect(self):
        call("rdma_disconnect", self.id)
        self.expect(DISCONNECTED)

    def close(self):
        if self.qp:
            cm.rdma_destroy_qp(self.id)
        cm.rdma_destroy_id(self.id)
        cm.rdma_destroy_event_channel(self.channel)


def login(port, initiator, action=SINGLE, formats=6, length=0x114):
    """SRP_LOGIN_REQ as private data of RDMA/CM."""
    return struct.pack(">QHBBI16s16sHxxxxxx", 7, formats, action, 0, length, initiator, port, 0)


def initiator(number):
    return struct.pack(">QQ", 0x5EED, number)


def ended(connection):
    """How the target answers."""
    kind, data = connection.event()
    if kind == ESTABLISHED:
        assert data[0] == LOGIN_RSP, f"no login response: {data.hex()}"
        return ("accepted", "terminated another", "beside another", "?")[data[26] & 3]
    assert kind in (REJECTED, UNREACHABLE), f"event {kind}"
    if kind == REJECTED and len(data) >= 16 and data[0] == LOGIN_REJ:
        return f"reason {data[4:8].hex()}"
    return "rejected" if kind == REJECTED else "unreachable"


def once(address, private_data):
    connection = Connection(address)
    connection.connect(private_data)
    end = ended(connection)
    if end == "accepted":
        connection.disconnect()
    connection.close()
    return end


def twice(address, port, number):
    older, newer = Connection(address), Connection(address)
    older.connect(login(port, initiator(number)))
    assert ended(older) == "accepted"
    newer.connect(login(port, initiator(number)))
    end = ended(newer)
    older.expect(DISCONNECTED)
    newer.disconnect()
    older.close()
    newer.close()
    return end


def rival(address, port, name):
    connection = Connection(address)
    connection.connect(login(port, bytes.fromhex(name)))
    end = ended(connection)
    connection.expect(DISCONNECTED)
    connection.close()
    return end


def many(address, port, number):
    """The first channel is a session of its own; the others are beside it."""
    channels = [Connection(address) for _ in range(8)]
    ends = []
    for i, channel in enumerate(channels):
        channel.connect(login(port, initiator(number), action=MULTI if i else SINGLE))
        ends.append(ended(channel))
    for channel in channels:
        channel.disconnect()
        channel.close()
    assert ends[0] == "accepted", ends
    assert ends[1:] == ["beside another"] * 7, ends
    return "accepted"


def strange(port, number):
    other = bytes(byte ^ 0xFF for byte in port)
    return random.choice(
        [
            login(other, initiator(number)),
            login(port, initiator(number), action=2),
            login(port, initiator(number), length=0xFFFFFFFF),
            login(port, initiator(number), formats=0x8000),
        ]
    )


def child(work):
    """Does it in another process; how that ended."""
    pid = os.fork()
    if pid == 0:
        signal.alarm(60)
        try:
            work()
        finally:
            os._exit(0)
    return pid


def killed(address, port, number):
    """Is killed somewhere between the first step and the last one, which is sooner after one that was through."""

    def work():
        end = once(address, login(port, initiator(number)))
        assert end == "accepted", end

    pid = child(work)
    time.sleep(random.uniform(0, killed.within))
    os.kill(pid, signal.SIGKILL)
    _, status = os.waitpid(pid, 0)
    was = os.WIFSIGNALED(status)
    killed.within *= 1.5 if was else 0.5
    return "killed" if was else "was through"


killed.within = 0.5


def left(address, port, number):
    def work():
        connection = Connection(address)
        connection.connect(login(port, initiator(number)))
        # With half of the handshake, or with all of it.
        if number % 2:
            ended(connection)
        os.kill(os.getpid(), signal.SIGKILL)

    _, status = os.waitpid(child(work), 0)
    assert os.WIFSIGNALED(status), "it did not leave"
    return "left"


def main(address, extension, guid, kind, count, name=None):
    port = bytes.fromhex(extension) + bytes.fromhex(guid)
    ends = collections.Counter()
    start = time.time()
    for number in range(1, int(count) + 1):
        signal.alarm(120)
        if kind == "login":
            end = once(address, login(port, initiator(number)))
        elif kind == "twice":
            end = twice(address, port, number)
        elif kind == "rival":
            end = rival(address, port, name)
        elif kind == "many":
            end = many(address, port, number)
        elif kind == "noise":
            end = once(address, os.urandom(random.randrange(57)))
        elif kind == "strange":
            end = once(address, strange(port, number))
        else:
            end = globals()[kind](address, port, number)
        ends[end] += 1
    print(kind, " ".join(f"{end}: {n}" for end, n in sorted(ends.items())), f"in {time.time() - start:.1f} s")


main(*sys.argv[1:])
