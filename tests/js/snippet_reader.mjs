// Runs the reader of the web quickstart (given in READER) on the channel chat:42, and prints the first response that ends.
import Ably from "ably";

const client = new Ably.Realtime({
  endpoint: "127.0.0.1",
  port: Number(process.env.PORT),
  tls: false,
  key: "local.key:secret",
  logLevel: 0,
});
const channel = client.channels.get("chat:42");
const run = new Function("channel", `return (async () => { ${process.env.READER}\nreturn responses; })();`);
const responses = await run(channel);
console.log("subscribed");
await channel.subscribe("stop", () => {
  setTimeout(() => {
    for (const { status, text } of responses.values()) console.log(status, text);
    client.close();
    process.exit(0);
  }, 0);
});
