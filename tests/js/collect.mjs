// Subscribes to chat:0..CHANNELS-1 with ably-js and reads RESPONSES responses by the rules of the frames; prints them as JSON.
import Ably from "ably";

const client = new Ably.Realtime({
  endpoint: "127.0.0.1",
  port: Number(process.env.PORT),
  tls: false,
  key: "local.key:secret",
  logLevel: 0,
});
const responses = {};
let left = Number(process.env.RESPONSES);

function take(message) {
  const headers = message.extras.headers;
  const response = (responses[headers.responseId] ??= { texts: {}, last: -1, starts: 0, stops: 0, wrong: [], stop: null });
  const seq = Number(headers.seq);
  const end = Number(headers.seqEnd ?? headers.seq);
  if (seq > response.last + 1) response.wrong.push(`${message.id} after ${response.last}`);
  if (message.name === "start") response.starts += 1;
  if (headers.offset !== undefined) {
    const part = headers.part ?? "text";
    const text = response.texts[part] ?? "";
    const offset = Number(headers.offset);
    if (offset !== text.length) response.wrong.push(`${message.id} at ${text.length}`);
    response.texts[part] = text + message.data.slice(text.length - offset);
  }
  response.last = Math.max(response.last, end);
  if (message.name === "stop") {
    response.stops += 1;
    response.stop = message.data;
    left -= 1;
    if (left === 0) {
      process.stdout.write(JSON.stringify(responses), () => process.exit(0));
    }
  }
}

const channels = Array.from({ length: Number(process.env.CHANNELS) }, (_, number) => client.channels.get(`chat:${number}`));
await Promise.all(channels.map((channel) => channel.subscribe(take)));
console.log("subscribed");
