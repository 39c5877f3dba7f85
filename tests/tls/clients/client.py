# An app with `requests`. Only the resolver is replaced: every name is the gateway.
import json
import socket
import sys

import requests

port, body = int(sys.argv[1]), sys.argv[2]
to = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port))]
socket.getaddrinfo = lambda *_, **__: to
try:
    answer = requests.post(
        "https://collector.example/v1/results/t2dm",
        data=body,
        headers={"content-type": "application/json"},
        timeout=20,
    )
    print(json.dumps({"status": answer.status_code, "body": answer.text}))
except requests.exceptions.SSLError:
    print(json.dumps({"status": 0, "body": "untrusted"}))
