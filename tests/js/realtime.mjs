// Scenarios for the real ably-js against the local realtime server.
// node tests/js/realtime.mjs <port> <json|msgpack> <scenario>; exits 0 when it holds, 1 with the reason when not.
import assert from "node:assert/strict";
import { createServer } from "node:http";
import Ably from "ably";

const [port, format, scenario] = process.argv.slice(2);
const key = process.env.REALTIME_KEY ?? "local.key:secret";
const token = process.env.REALTIME_TOKEN;
const clients = [];

function connect(options) {
  const client = new Ably.Realtime({
    endpoint: "127.0.0.1",
    port: Number(port),
    tls: false,
    useBinaryProtocol: format === "msgpack",
    disconnectedRetryTimeout: 100,
    suspendedRetryTimeout: 100,
    logLevel: 0,
    ...options,
  });
  clients.push(client);
  return client;
}

async function switchFaults(spec) {
  const answer = await fetch(`http://127.0.0.1:${port}/admin/faults`, { method: "POST", body: JSON.stringify(spec) });
  assert.equal(answer.status, 200, await answer.text());
}

const refusal = (promise) => promise.then(() => assert.fail("was not refused"), (error) => error);

async function collect(channel, count) {
  const found = [];
  let enough;
  const done = new Promise((resolve) => (enough = resolve));
  await channel.subscribe((message) => {
    found.push(message);
    if (found.length === count) enough();
  });
  return { found, done };
}

async function pages(channel, params) {
  const found = [];
  for (let page = await channel.history(params); page; page = page.hasNext() ? await page.next() : null) {
    found.push(...page.items.map((message) => message.data));
  }
  return found;
}

const scenarios = {
  async publishes_batches() {
    const client = connect({ key });
    const { found, done } = await collect(client.channels.get(`js:${format}:batch-a`), 2);
    const spec = (channel, data) => ({ channels: [`js:${format}:${channel}`], messages: [{ name: "token", data }] });
    const results = await client.batchPublish([spec("batch-a", "one"), spec("batch-b", "x".repeat(70000)), spec("batch-a", "two")]);
    await done;
    assert.deepEqual(results.map((result) => [result.successCount, result.failureCount]), [[1, 0], [0, 1], [1, 0]]);
    assert.equal(results[1].results[0].error.code, 40009);
    assert.deepEqual(found.map((message) => message.data), ["one", "two"]);
  },

  async publishes_and_subscribes() {
    const [publisher, reader] = [connect({ key }), connect({ key })];
    const channel = `js:${format}:plain`;
    const { found, done } = await collect(reader.channels.get(channel), 4);
    const out = publisher.channels.get(channel);
    await out.publish({ name: "token", data: "häl😀", extras: { headers: { responseId: "r1" } } });
    await out.publish("object", { a: [1, 2] });
    await out.publish("bytes", Buffer.from("abc"));
    await out.publish({ id: "one/two/3-4/0", name: "ids", data: "x" });
    await out.publish({ id: "one/two/3-4/0", name: "ids", data: "x" });
    await out.publish("last", null);
    await done;
    assert.equal(found[0].data, "häl😀");
    assert.deepEqual(found[0].extras, { headers: { responseId: "r1" } });
    assert.deepEqual(found[1].data, { a: [1, 2] });
    assert.equal(Buffer.from(found[2].data).toString(), "abc");
    assert.equal(found[3].id, "one/two/3-4/0");
  },

  async rewinds_before_it_goes_live() {
    const client = connect({ key });
    const name = `js:${format}:rewind`;
    const out = client.channels.get(name);
    for (let i = 0; i < 5; i++) await out.publish("n", String(i));
    const reader = connect({ key });
    const { found, done } = await collect(reader.channels.get(`[?rewind=3]${name}`), 4);
    await out.publish("n", "live");
    await done;
    assert.deepEqual(found.map((message) => message.data), ["2", "3", "4", "live"]);
    const timed = await collect(connect({ key }).channels.get(name, { params: { rewind: "2m" } }), 6);
    await timed.done;
    assert.deepEqual(timed.found.map((message) => message.data), ["0", "1", "2", "3", "4", "live"]);
  },

  async pages_history_until_it_attached() {
    const client = connect({ key });
    const channel = client.channels.get(`js:${format}:history`);
    for (let i = 0; i < 7; i++) await channel.publish("n", String(i));
    await channel.attach();
    await channel.publish("n", "later");
    const found = await pages(channel, { untilAttach: true, limit: 3 });
    assert.deepEqual(found, ["6", "5", "4", "3", "2", "1", "0"]);
    assert.deepEqual((await pages(channel, { direction: "forwards", limit: 5 })).slice(-2), ["6", "later"]);
  },

  async takes_tokens_from_a_url() {
    const server = createServer((_, response) => {
      response.writeHead(200, { "content-type": "text/plain" });
      response.end(token);
    });
    await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
    const client = connect({ authUrl: `http://127.0.0.1:${server.address().port}/token` });
    await client.channels.get("allowed:one").attach();
    assert.equal(client.auth.clientId, "browser");
    assert.deepEqual(await pages(client.channels.get("allowed:one"), {}), []);
    server.close();
    server.closeAllConnections();
  },

  async takes_signed_token_requests() {
    const signer = new Ably.Rest({ key });
    const client = connect({
      authCallback: (params, done) =>
        signer.auth.createTokenRequest({ ...params, clientId: "me" }).then((request) => done(null, request), done),
    });
    await client.channels.get("any").publish("n", "1");
    assert.equal(client.auth.clientId, "me");
  },

  async is_refused_what_its_token_does_not_grant() {
    const client = connect({ token });
    await client.channels.get("allowed:two").attach();
    assert.equal((await refusal(client.channels.get("allowed:two").publish("n", "1"))).code, 40160);
    const other = client.channels.get("other:two");
    assert.equal((await refusal(other.attach())).code, 40160);
    assert.equal(other.state, "failed");
    assert.equal((await refusal(other.history())).code, 40160);
  },

  async fails_with_a_wrong_key() {
    const client = connect({ key: "local.key:wrong" });
    const change = await client.connection.whenState("failed");
    assert.equal((change?.reason ?? client.connection.errorReason).code, 40101);
  },

  async resumes_after_a_cut_without_loss() {
    const [publisher, reader] = [connect({ key }), connect({ key })];
    const name = `js:${format}:cut`;
    const channel = reader.channels.get(name);
    const { found, done } = await collect(channel, 100);
    const before = reader.connection.id;
    const states = [];
    channel.on(["attached", "update"], (change) => states.push(change.resumed));
    const out = publisher.channels.get(name);
    for (let i = 0; i < 100; i++) {
      if (i === 40) {
        const gone = new Promise((resolve) => reader.connection.once("disconnected", resolve));
        await switchFaults({ cut: { connection: before } });
        await gone;
      }
      await out.publish("n", String(i));
    }
    await done;
    assert.deepEqual(found.map((message) => message.data), Array.from({ length: 100 }, (_, i) => String(i)));
    assert.equal(reader.connection.id, before);
    assert.ok(states.every((resumed) => resumed), JSON.stringify(states));
  },

  async is_told_of_lost_continuity_when_a_resume_is_refused() {
    const client = connect({ key });
    const channel = client.channels.get(`js:${format}:refused`);
    await channel.attach();
    const before = client.connection.id;
    const told = new Promise((resolve) => channel.on(["attached", "update"], resolve));
    await switchFaults({ refuse_resume: { times: 1 }, cut: {} });
    assert.equal((await told).resumed, false);
    assert.notEqual(client.connection.id, before);
    assert.equal(channel.state, "attached");
  },

  async is_told_of_a_discontinuity() {
    const client = connect({ key });
    const channel = client.channels.get(`js:${format}:discontinuity`);
    await channel.attach();
    const told = new Promise((resolve) => channel.on("update", resolve));
    await switchFaults({ discontinuity: { channel: "discontinuity" } });
    const change = await told;
    assert.equal(change.resumed, false);
    assert.equal(change.reason.code, 80020);
  },

  async reattaches_after_an_unasked_detach() {
    const client = connect({ key });
    const channel = client.channels.get(`js:${format}:detached`);
    await channel.attach();
    const again = new Promise((resolve) => channel.once("attached", resolve));
    await switchFaults({ detached: { channel: "detached" } });
    await again;
  },

  async appends_to_a_message() {
    const [publisher, reader] = [connect({ key }), connect({ key })];
    const name = `js:${format}:append`;
    const { found, done } = await collect(reader.channels.get(name), 3);
    const out = publisher.channels.get(name);
    const { serials } = await out.publish("response", "Hel");
    await out.appendMessage({ serial: serials[0], data: "lo" });
    await out.appendMessage({ serial: serials[0], data: "!" });
    await done;
    assert.deepEqual(
      found.map((message) => [message.action, message.data]),
      [["message.create", "Hel"], ["message.append", "lo"], ["message.append", "!"]],
    );
    assert.deepEqual(await pages(out, {}), ["Hello!"]);
  },

  async keeps_ephemeral_messages_out_of_history() {
    const client = connect({ key });
    const channel = client.channels.get(`js:${format}:ephemeral`);
    const { done } = await collect(channel, 2);
    await channel.publish({ name: "n", data: "gone", extras: { ephemeral: true } });
    await channel.publish("n", "kept");
    await done;
    assert.deepEqual(await pages(channel, {}), ["kept"]);
  },
};

const deadline = setTimeout(() => {
  console.error(`${scenario}: not done within 15 s`);
  process.exit(1);
}, 15_000);
try {
  await scenarios[scenario]();
  await Promise.all(
    clients.map((client) => {
      if (["failed", "closed"].includes(client.connection.state)) return null;
      client.close();
      return client.connection.whenState("closed");
    }),
  );
  clearTimeout(deadline);
} catch (error) {
  console.error(error);
  process.exit(1);
}
process.exit(0);
