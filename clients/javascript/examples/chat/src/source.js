/** Where the answers of a chat are read: a gateway of tokenstream, or a channel of Ably, whose code is loaded then. The server decides. */
export async function sourceFor(chatId) {
  const config = await (await fetch('/config.json')).json();
  const channel = `chat:${chatId}`;
  if (!config.ably) return { url: '/v1', channel };
  const { channelOf } = await import('./ably.js');
  return channelOf(channel, config.ably);
}
