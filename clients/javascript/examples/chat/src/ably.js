import { Realtime } from 'ably';

export function channelOf(name, options) {
  const realtime = new Realtime({ authUrl: '/token', closeOnUnload: false, ...options });
  return realtime.channels.get(name);
}
