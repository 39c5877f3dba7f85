-- One request a connection: the client comes back with the ticket of the one before.
local file = assert(io.open("payload.json", "rb"))
wrk.method = "POST"
wrk.body = file:read("*a")
file:close()
wrk.headers["Content-Type"] = "application/json"
wrk.headers["Connection"] = "close"

done = function(summary, latency)
  io.write(string.format("p50_us %d p99_us %d\n", latency:percentile(50), latency:percentile(99)))
end
