// Feeds the reader of the web quickstart (given in READER) what a successor may repeat after the stop, and prints what it shows.
let listener;
const channel = { subscribe: async (given) => (listener = given) };
const run = new Function("channel", "reload", `return (async () => { ${process.env.READER}\nreturn responses; })();`);
const responses = await run(channel, () => console.log("reload"));
const feed = (name, data, headers) =>
  listener({ clientId: "tokenstream", name, data, extras: { headers: { responseId: "r", ...headers } } });

feed("start", null, { seq: "0" });
feed("token", "Hello world", { seq: "1", seqEnd: "2", offset: "0" });
feed("start", null, { seq: "0" });
console.log(JSON.stringify(responses.get("r")));
feed("stop", { status: "complete" }, { seq: "3" });
feed("start", null, { seq: "0" });
feed("token", "Hello ", { seq: "1", seqEnd: "1", offset: "0" });
feed("token", "world", { seq: "2", seqEnd: "2", offset: "6" });
feed("stop", { status: "failed" }, { seq: "3" });
console.log(JSON.stringify(responses.get("r")));
