'use client';

import { useEffect, useMemo, useRef, useSyncExternalStore } from 'react';
import { identityOf, keyOf } from '../sharing.js';
import { Store } from './store.js';
import { everything, one } from './views.js';

function useStore(source, options, view, id) {
  const latest = useRef(options);
  useEffect(() => {
    latest.current = options;
  });
  const key = keyOf(options);
  const identity = identityOf(source);
  const store = useMemo(() => new Store(source, () => latest.current ?? {}, view(id)), [identity, key, id, view]);
  return { store, value: useSyncExternalStore(store.subscribe, store.read, () => view(id).nothing) };
}

const all = () => everything;

/**
 * Follows the responses of a source: an ably-js channel, `{ url, channel }` of a gateway, or a stream.
 * Returns `{ responses, state, error, cancel }`. Components with the same source and equal options share one subscription.
 */
export function useResponses(source, options) {
  const { store, value } = useStore(source, options, all);
  return useMemo(() => ({ ...value, cancel: store.cancel }), [value, store]);
}

/** Follows one response of a source; null until it is known. The component is rendered when this response changes. */
export function useResponse(source, id, options) {
  return useStore(source, options, one, id).value;
}
