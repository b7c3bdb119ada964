/** Where the answers of a chat are read: a gateway of tokenstream, or a channel of Ably. The server decides. */
export async function sourceFor(chatId) {
  const config = await (await fetch('/config.json')).json();
  const channel = `chat:${chatId}`;
  if (!config.ably) return { url: '/v1', channel };
  const { Realtime } = await import('ably');
  const realtime = new Realtime({ authUrl: '/token', closeOnUnload: false, ...config.ably });
  return realtime.channels.get(channel);
}
