// By `node --require`: Ably's public echo server is the sandbox.
const dns = require("dns");
const lookup = dns.lookup;
dns.lookup = (host, ...rest) => lookup(host === "echo.ably.io" ? "127.0.0.1" : host, ...rest);
