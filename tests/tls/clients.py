"""Speaks TLS to the address in the arguments in many ways, and asks for something in each."""
import random
import socket
import ssl
import subprocess
import sys
import warnings

warnings.simplefilter("ignore", DeprecationWarning)
host, port, count = "report.pharma.example", int(sys.argv[1]), int(sys.argv[2])
pick = random.Random(4711)
CIPHERS = [c["name"] for c in ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).get_ciphers()]
OLD = [name for name in CIPHERS if name.startswith("ECDHE-")]
NEW = ["TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256", "TLS_AES_128_GCM_SHA256"]
CURVES = ["X25519", "prime256v1", "secp384r1"]
SIGNATURES = ["ecdsa_secp256r1_sha256", "rsa_pss_rsae_sha256", "rsa_pkcs1_sha256", "ed25519"]


def some(values, always):
    """A few of them, in any order, and what the gateway's certificate needs."""
    few = {always, *pick.sample(values, pick.randint(1, len(values)))}
    return ":".join(pick.sample(sorted(few), len(few)))


def old():
    return some(OLD, "ECDHE-ECDSA-AES128-GCM-SHA256")


def new():
    return some(NEW, "TLS_AES_128_GCM_SHA256")


def curves():
    return some(CURVES, "prime256v1")


def spelled(name):
    """In any case."""
    return "".join(pick.choice([c.lower(), c.upper()]) for c in name)


def request_1():
    agent = "x" * pick.randint(0, 100)
    return f"GET /v1/task HTTP/1.1\r\nHost: {host}\r\nUser-Agent: {agent}\r\n\r\n".encode()


def request_2():
    def text(name, value):
        return bytes([name, len(value)]) + value.encode()

    fields = b"\x82\x87" + text(0x41, host) + text(0x44, "/v1/task")
    frame = len(fields).to_bytes(3, "big") + b"\x01\x05\0\0\0\x01" + fields
    return b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\0\x04\0\0\0\0\0" + frame


def has_answer(read, is_h2):
    if not is_h2:
        return b"\r\n\r\n" in read
    while len(read) >= 9:
        length, kind = int.from_bytes(read[:3], "big"), read[3]
        if kind == 1:
            return True
        read = read[9 + length :]
    return False


def with_python():
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_ciphers(old())
    low, high = pick.choice(["22", "23", "33"])
    versions = {"2": ssl.TLSVersion.TLSv1_2, "3": ssl.TLSVersion.TLSv1_3}
    context.minimum_version, context.maximum_version = versions[low], versions[high]
    protocols = pick.choice([[], ["http/1.1"], ["h2", "http/1.1"], ["http/1.1", "h2"], ["h2"]])
    if protocols:
        context.set_alpn_protocols(protocols)
    if pick.random() < 0.5:
        context.options |= ssl.OP_NO_TICKET
    if pick.random() < 0.5:
        context.set_ecdh_curve(pick.choice(CURVES) if low == "3" else "prime256v1")
    context.post_handshake_auth = pick.random() < 0.5
    with socket.create_connection(("127.0.0.1", port), 30) as plain:
        with context.wrap_socket(plain, server_hostname=spelled(host)) as client:
            is_h2 = client.selected_alpn_protocol() == "h2"
            client.sendall(request_2() if is_h2 else request_1())
            read = b""
            while not has_answer(read, is_h2):
                more = client.recv(65536)
                assert more, f"no answer, but {read!r}"
                read += more


def with_openssl():
    words = ["openssl", "s_client", "-connect", f"127.0.0.1:{port}", "-servername", spelled(host)]
    words += ["-quiet", "-curves", curves()]
    words += ["-sigalgs", some(SIGNATURES, "ecdsa_secp256r1_sha256")]
    words += pick.choice([["-tls1_2", "-cipher", old()], ["-ciphersuites", new()]])
    words += pick.choice([[], ["-status"], ["-no_ticket"], ["-legacy_renegotiation"]])
    words += pick.choice([[], ["-serverinfo", "1234,4321"], ["-max_send_frag", "512"]])
    run(words, request_1().replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"), b"HTTP/1.")


def with_curl():
    words = ["curl", "-sk", "-D-", "--max-time", "30", "--noproxy", "*", "--curves", curves()]
    words += ["--connect-to", f"::127.0.0.1:{port}", f"https://{host}/v1/task"]
    words += pick.choice([["--http1.1"], ["--http2"], ["--no-alpn"]])
    words += pick.choice([["--tls-max", "1.2", "--ciphers", old()], ["--tls13-ciphers", new()]])
    run(words, b"", b"HTTP/")


def run(words, given, expected):
    done = subprocess.run(words, input=given, capture_output=True, timeout=60)
    assert expected in done.stdout, (words, done)


for number in range(count):
    (with_openssl if number % 10 == 1 else with_curl if number % 10 == 2 else with_python)()
