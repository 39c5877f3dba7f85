// An app with Node's own client. Only the address is given: every name is the gateway.
const https = require("https");

const [port, body] = process.argv.slice(2);
const request = https.request(
  {
    host: "127.0.0.1",
    port,
    servername: "collector.example",
    method: "POST",
    path: "/v1/results/t2dm",
    headers: {
      host: "collector.example",
      "content-type": "application/json",
      "content-length": Buffer.byteLength(body),
    },
    agent: false,
  },
  (answer) => {
    let text = "";
    answer.on("data", (chunk) => (text += chunk));
    answer.on("end", () => console.log(JSON.stringify({ status: answer.statusCode, body: text })));
  },
);
request.on("error", () => console.log(JSON.stringify({ status: 0, body: "untrusted" })));
request.end(body);
